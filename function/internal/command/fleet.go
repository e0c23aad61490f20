package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// A fleet is what an operator's command gives orders to: through the control plane where that has an address, or else by the same routes
// through the stores.
type fleet struct {
	program  *Program
	taiea    *url.URL // nil: through the stores
	key      string
	client   *http.Client
	operator Operator
}

// reach finds the fleet that the environment names.
func (p *Program) reach(ctx context.Context) (*fleet, error) {
	address := os.Getenv("TAIEA_URL")
	if address == "" {
		op, err := p.OpenOperator(ctx)
		if err != nil {
			return nil, err
		}
		return &fleet{program: p, operator: op}, nil
	}
	u, err := url.Parse(address)
	local := err == nil && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1")
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && local):
		return nil, errors.New("TAIEA_URL: is not an address such as https://taiea.example.com; http is for this machine alone")
	case os.Getenv("TAIEA_KEY") == "" && !local:
		return nil, errors.New("TAIEA_KEY: is not set: it is the key or the token of an operator, which the control plane at TAIEA_URL asks for")
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // no one else gets the key
	return &fleet{program: p, taiea: u, key: os.Getenv("TAIEA_KEY"), client: client}, nil
}

func (f *fleet) close() {
	if f.operator != nil {
		f.operator.Close()
	}
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 16 << 20

// ask sends a request to the control plane's routes.
func (f *fleet) ask(ctx context.Context, method, path, etag string, body []byte) (status int, answer []byte, err error) {
	if f.operator != nil {
		return f.operator.Order(ctx, method, path, etag, body)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(f.taiea.String(), "/")+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if f.key != "" {
		r.Header.Set("Authorization", "Bearer "+f.key)
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if etag != "" {
		r.Header.Set("If-Match", etag)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return 0, nil, fmt.Errorf("TAIEA_URL: %w", err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, answer, err
}

// An instance is one as the control plane lists it.
type instance struct {
	Name        string
	Began, Seen time.Time
	Catalog     string // of what it serves, "" of a control plane
	SealingKeys []string
	Own         []string `json:"ownSealingKeys"` // of a control plane
}

// instances lists those that have said that they run, and the time at which that was read.
func (f *fleet) instances(ctx context.Context) ([]instance, time.Time, error) {
	var all struct {
		Instances []instance
		At        time.Time
	}
	status, answer, err := f.ask(ctx, http.MethodGet, "/v1/fleet", "", nil)
	if err == nil && status != http.StatusOK {
		err = f.refused(status, answer)
	}
	if err == nil {
		err = json.Unmarshal(answer, &all)
	}
	return all.Instances, all.At, err
}

// order makes a change, and tells what there is to warn of.
func (f *fleet) order(ctx context.Context, method, path, etag string, order any) ([]byte, error) {
	var body []byte
	if method == http.MethodPut {
		var err error
		if body, err = json.Marshal(order); err != nil {
			return nil, err
		}
	}
	status, answer, err := f.ask(ctx, method, path, etag, body)
	if err != nil {
		return nil, err
	}
	if status >= 300 {
		return nil, f.refused(status, answer)
	}
	f.warn(answer)
	switch {
	case f.operator == nil:
	case !f.operator.Stored():
		fmt.Fprintln(f.program.errs, f.program.Name+": warning: the order is in Redis alone, until an instance has written it to a store, and has no receipt: GOOGLE_CLOUD_PROJECT is not set")
	case !f.operator.Recorded():
		fmt.Fprintln(f.program.errs, f.program.Name+": warning: the order has no receipt: RECEIPTS is false")
	}
	return answer, nil
}

// warn prints the warnings of an answer.
func (f *fleet) warn(answer []byte) {
	var said struct{ Warnings []string }
	json.Unmarshal(answer, &said)
	for _, w := range said.Warnings {
		fmt.Fprintf(f.program.errs, "%s: warning: %s\n", f.program.Name, shown(w))
	}
}

// refused is the error of an answer that is none.
func (f *fleet) refused(status int, answer []byte) error {
	var p struct {
		Detail string
		Faults []string
	}
	if json.Unmarshal(answer, &p) != nil || p.Detail == "" {
		return fmt.Errorf("the control plane answers %d", status)
	}
	text := strings.Join(append([]string{p.Detail}, p.Faults...), "; ")
	if status == http.StatusServiceUnavailable && f.operator != nil && f.operator.Stored() {
		text += "; while Firestore is away, give the order through Redis alone: with REDIS_URL, and without GOOGLE_CLOUD_PROJECT"
	}
	return errors.New(text)
}

// list reads all pages of a list, and has them shown, or prints them as they are.
func (f *fleet) list(ctx context.Context, out io.Writer, path string, raw bool, show func(all []byte) error) error {
	var all map[string]json.RawMessage
	for after := ""; ; {
		status, answer, err := f.ask(ctx, http.MethodGet, path+"?limit=100"+after, "", nil)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return f.refused(status, answer)
		}
		var one map[string]json.RawMessage
		if err := json.Unmarshal(answer, &one); err != nil {
			return err
		}
		if all == nil {
			all = one
			f.warn(answer)
		} else {
			for _, name := range []string{"kills", "limits"} {
				if len(one[name]) > 2 {
					all[name] = fmt.Appendf(nil, "%s,%s", bytes.TrimSuffix(all[name], []byte("]")), bytes.TrimPrefix(one[name], []byte("[")))
				}
			}
		}
		var next string
		if json.Unmarshal(one["next"], &next); next == "" {
			break
		}
		after = "&after=" + url.QueryEscape(next)
	}
	delete(all, "next")
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if raw {
		fmt.Fprintln(out, shownLines(string(text)))
		return nil
	}
	return show(text)
}
