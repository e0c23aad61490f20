package redis

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// moves follow a cluster: REDIS_URL names one of its nodes, and all keys have one hash tag, so that one node has all of them. Which one
// that is a node says by MOVED, and messages go there from then on, until it says so of another or can't be reached. They implement
// [redis.Hook].
type moves struct {
	make func(address string) *redis.Client

	mu     sync.Mutex
	node   *redis.Client // nil: the one that REDIS_URL names
	failed int           // messages in a row that it did not answer
	closed bool
}

// maxFailed is how many messages in a row a node may not answer until the one that REDIS_URL names is asked which one has the keys.
const maxFailed = 3

// DialHook implements [redis.Hook].
func (m *moves) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook].
func (m *moves) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return m.follow(func(node *redis.Client) error {
			if node == nil {
				return next(ctx, cmd)
			}
			cmd.SetErr(nil)
			return node.Process(ctx, cmd)
		})
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (m *moves) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return m.follow(func(node *redis.Client) error {
			if node == nil {
				next(ctx, cmds)
			} else {
				pipe := node.Pipeline()
				for _, cmd := range cmds {
					cmd.SetErr(nil)
					pipe.Process(ctx, cmd)
				}
				pipe.Exec(ctx)
			}
			for _, cmd := range cmds {
				if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
					return err
				}
			}
			return nil
		})
	}
}

// follow sends to the node that has the keys.
func (m *moves) follow(send func(*redis.Client) error) error {
	node := m.current()
	err := send(node)
	if node != nil && errors.Is(err, redis.ErrClosed) { // another message has found it gone meanwhile
		node = m.current()
		err = send(node)
	}
	m.answered(node, err)
	address, ok := movedTo(err)
	if !ok {
		return err
	}
	next := m.move(node, address)
	if next == nil {
		return err
	}
	err = send(next)
	m.answered(next, err)
	return err
}

func (m *moves) current() *redis.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

// answered takes note of how a node answers: one that does not is left after a while.
func (m *moves) answered(node *redis.Client, err error) {
	if node == nil {
		return
	}
	var said redis.Error
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.node != node:
	case err == nil || errors.As(err, &said):
		m.failed = 0
	default:
		if m.failed++; m.failed >= maxFailed || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			m.node, m.failed = nil, 0
			node.Close()
		}
	}
}

// move changes the node, unless another message has done so meanwhile.
func (m *moves) move(from *redis.Client, address string) *redis.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.node != from {
		return m.node
	}
	m.node, m.failed = m.make(address), 0
	if from != nil {
		from.Close()
	}
	return m.node
}

func (m *moves) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.node != nil {
		m.node.Close()
		m.node = nil
	}
}

// movedTo reads the address of MOVED SLOT HOST:PORT.
func movedTo(err error) (address string, ok bool) {
	if err == nil || !strings.HasPrefix(err.Error(), "MOVED ") {
		return "", false
	}
	words := strings.Fields(err.Error())
	if len(words) != 3 {
		return "", false
	}
	i := strings.LastIndexByte(words[2], ':')
	if i <= 0 { // without a host it is the one that was asked, which only it could know
		return "", false
	}
	return net.JoinHostPort(strings.Trim(words[2][:i], "[]"), words[2][i+1:]), true
}
