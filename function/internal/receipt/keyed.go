package receipt

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"sync"
)

// A Hasher hashes arguments, results and names of callers. A bare SHA-256 of what has few possible values is no secret: whoever reads it tries them all.
// So the hash is an HMAC-SHA256 under a key that each tenant has of its own, derived from a secret of the fleet. Who is given the key of
// one tenant can compare that tenant's calls, and no others. It is safe for concurrent use; nil hashes without a key.
type Hasher struct {
	secrets []hashSecret

	mu      sync.RWMutex
	tenants map[string]*sync.Pool // of *keyed
}

type hashSecret struct {
	id     string
	secret []byte
}

// A HashKey is the key of one tenant's hashes, for who may compare them.
type HashKey struct {
	ID  string `json:"id"`  // as [Header] names the secret
	Key Bytes  `json:"key"` // of HMAC-SHA256
}

// NewHasher hashes under the first of the fleet's secrets. The others are those of before.
func NewHasher(secrets ...[]byte) *Hasher {
	h := &Hasher{tenants: map[string]*sync.Pool{}}
	for _, s := range secrets {
		sum := sha256.Sum256(append([]byte("erlmcp receipts: id of a secret\n"), s...))
		h.secrets = append(h.secrets, hashSecret{hex.EncodeToString(sum[:4]), s})
	}
	return h
}

// ID names the secret that hashes, "" for none.
func (h *Hasher) ID() string {
	if h == nil {
		return ""
	}
	return h.secrets[0].id
}

// Keys are a tenant's, one of each secret: those of earlier secrets are for receipts of then.
func (h *Hasher) Keys(tenant string) (keys []HashKey) {
	if h == nil {
		return nil
	}
	for _, s := range h.secrets {
		keys = append(keys, HashKey{s.id, s.key(tenant)})
	}
	return keys
}

func (s *hashSecret) key(tenant string) []byte {
	key, err := hkdf.Key(sha256.New, s.secret, nil, "erlmcp receipts: hashes of a tenant\n"+tenant, sha256.Size)
	if err != nil {
		panic(err) // only for lengths beyond 255 hashes
	}
	return key
}

// keyed is an HMAC under a key, with room for what it comes to.
type keyed struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

// maxKeyed is how many tenants' keys are kept. Then all are forgotten, and derived anew.
const maxKeyed = 10000

// Hash hashes arguments or a result of a tenant, as they were on the wire, or a name.
func (h *Hasher) Hash(tenant string, raw []byte) Hash {
	if h == nil {
		return HashOf(raw)
	}
	if len(tenant) > maxText {
		tenant = clipped(tenant, maxText) // as receipts have it
	}
	h.mu.RLock()
	pool := h.tenants[tenant]
	h.mu.RUnlock()
	if pool == nil {
		pool = h.derive(tenant)
	}
	k := pool.Get().(*keyed)
	k.mac.Reset()
	k.mac.Write(raw)
	k.mac.Sum(k.sum[:0])
	sum := Hash(k.sum)
	pool.Put(k)
	return sum
}

func (h *Hasher) derive(tenant string) *sync.Pool {
	key := h.secrets[0].key(tenant)
	pool := &sync.Pool{New: func() any { return &keyed{mac: hmac.New(sha256.New, key)} }}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.tenants) >= maxKeyed {
		clear(h.tenants)
	}
	h.tenants[tenant] = pool
	return pool
}

func appendKeys(b []byte, name string, keys []HashKey) []byte {
	if len(keys) == 0 {
		return b
	}
	b = append(append(b, name...), '[')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(append(b, `{"id":`...), k.ID)
		b = append(appendBytes(b, `,"key":`, k.Key), '}')
	}
	return append(b, ']')
}
