package objects

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/account"
	"example.com/erlmcp/function/internal/backup"
)

// BucketOptions say how Cloud Storage is reached.
type BucketOptions struct {
	Endpoint string                                // "" for what STORAGE_EMULATOR_HOST names, or else https://storage.googleapis.com
	Client   *http.Client                          // nil for one of its own
	Token    func(context.Context) (string, error) // returns an access token; nil for that of the Application Default Credentials
}

// A Bucket implements [backup.Objects] by the JSON API of Cloud Storage: https://docs.cloud.google.com/storage/docs/json_api/v1. It needs the
// permissions storage.objects.create, .get and .list, and none to change or delete: roles/storage.objectCreator and objectViewer. It is
// safe for concurrent use.
type Bucket struct {
	name, prefix string
	opts         BucketOptions
	account      *account.Account // nil where the options have a token, or an emulator asks for none
}

// Bounds of requests.
const (
	maxAttempts   = 8
	firstWait     = 250 * time.Millisecond // doubled with each attempt
	maxWait       = 10 * time.Second
	requestTime   = 60 * time.Second // of one attempt, which may have a whole object
	maxAnswer     = 16 << 20         // of what is not an object
	namesAtATime  = 1000
	scope         = "https://www.googleapis.com/auth/devstorage.read_write"
	emulator      = "STORAGE_EMULATOR_HOST"
	cloudEndpoint = "https://storage.googleapis.com"
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)

// OpenBucket returns the objects of gs://BUCKET/PREFIX. It does not ask whether the bucket is there.
func OpenBucket(ctx context.Context, place string, o BucketOptions) (*Bucket, error) {
	name, prefix, _ := strings.Cut(strings.TrimPrefix(place, "gs://"), "/")
	if !bucketName.MatchString(name) {
		return nil, fmt.Errorf("%q names no bucket: it is gs://BUCKET/PREFIX", place)
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	b := &Bucket{name: name, prefix: prefix, opts: o}
	if b.opts.Client == nil {
		b.opts.Client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	if host := os.Getenv(emulator); o.Endpoint == "" && host != "" {
		if !strings.Contains(host, "://") {
			host = "http://" + host
		}
		b.opts.Endpoint = strings.TrimSuffix(host, "/")
		if o.Token == nil {
			b.opts.Token = func(context.Context) (string, error) { return "", nil }
		}
	}
	b.opts.Endpoint = cmp.Or(b.opts.Endpoint, cloudEndpoint)
	if b.opts.Token == nil {
		a, err := account.Default(ctx, o.Client, scope)
		if err != nil {
			return nil, err
		}
		b.account = a
	}
	return b, nil
}

// String implements [backup.Objects].
func (b *Bucket) String() string { return strings.TrimSuffix("gs://"+b.name+"/"+b.prefix, "/") }

// resource is what Cloud Storage says of an object.
type resource struct {
	Name     string `json:"name"`
	CRC32C   string `json:"crc32c,omitempty"` // of its content, big-endian, in base64
	MimeType string `json:"contentType,omitempty"`
}

func checksum(content []byte) string {
	sum := crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// Create implements [backup.Objects]. The service refuses it where there is an object of the name (ifGenerationMatch=0), and where the
// content does not arrive as it was sent.
func (b *Bucket) Create(ctx context.Context, name string, content []byte) error {
	if len(content) > backup.MaxObject {
		return fmt.Errorf("%s has %d bytes, and an object may have %d", name, len(content), backup.MaxObject)
	}
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)
	about, err := json.Marshal(resource{Name: b.prefix + name, CRC32C: checksum(content), MimeType: "application/octet-stream"})
	if err != nil {
		return err
	}
	for _, part := range []struct {
		kind string
		text []byte
	}{{"application/json; charset=UTF-8", about}, {"application/octet-stream", content}} {
		w, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {part.kind}})
		if err == nil {
			_, err = w.Write(part.text)
		}
		if err != nil {
			return err
		}
	}
	if err := parts.Close(); err != nil {
		return err
	}
	var made resource
	err = b.ask(ctx, &request{
		method: http.MethodPost, path: "/upload/storage/v1/b/" + b.name + "/o",
		query: url.Values{"uploadType": {"multipart"}, "ifGenerationMatch": {"0"}},
		kind:  "multipart/related; boundary=" + parts.Boundary(), body: body.Bytes(), most: maxAnswer,
	}, func(text []byte) error {
		if err := json.Unmarshal(text, &made); err != nil || made.Name != b.prefix+name || made.CRC32C != "" && made.CRC32C != checksum(content) {
			return fmt.Errorf("the answer of Cloud Storage is about another object than %s", name)
		}
		return nil
	})
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Code == http.StatusPreconditionFailed {
		old, err := b.Read(ctx, name) // an attempt before may have made it, whose answer was lost
		switch {
		case err != nil:
			return err
		case !bytes.Equal(old, content):
			return fmt.Errorf("%s/%s: %w", b, name, backup.ErrExists)
		}
		return nil
	}
	return err
}

// Read implements [backup.Objects].
func (b *Bucket) Read(ctx context.Context, name string) (content []byte, err error) {
	err = b.ask(ctx, &request{
		method: http.MethodGet, path: "/storage/v1/b/" + b.name + "/o/" + url.PathEscape(b.prefix+name), query: url.Values{"alt": {"media"}}, most: backup.MaxObject,
	}, func(text []byte) error {
		content = text
		return nil
	})
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Code == http.StatusNotFound {
		return nil, fmt.Errorf("%s/%s: %w", b, name, backup.ErrNotFound)
	}
	return content, err
}

// listing is a page of names.
type listing struct {
	Items    []resource `json:"items"`
	Prefixes []string   `json:"prefixes"`
	Next     string     `json:"nextPageToken"`
}

// pages yields the pages of what begins with a prefix.
func (b *Bucket) pages(ctx context.Context, query url.Values) iter.Seq2[*listing, error] {
	return func(yield func(*listing, error) bool) {
		query.Set("maxResults", strconv.Itoa(namesAtATime))
		query.Set("fields", "items(name),prefixes,nextPageToken")
		for {
			page := &listing{}
			err := b.ask(ctx, &request{method: http.MethodGet, path: "/storage/v1/b/" + b.name + "/o", query: query, most: maxAnswer}, func(text []byte) error {
				*page = listing{}
				return json.Unmarshal(text, page)
			})
			if !yield(page, err) || err != nil || page.Next == "" {
				return
			}
			query.Set("pageToken", page.Next)
		}
	}
}

// List implements [backup.Objects].
func (b *Bucket) List(ctx context.Context, prefix, from string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		query := url.Values{"prefix": {b.prefix + prefix}}
		if from != "" {
			query.Set("startOffset", b.prefix+from)
		}
		for page, err := range b.pages(ctx, query) {
			if err != nil {
				yield("", err)
				return
			}
			for _, o := range page.Items {
				if !yield(strings.TrimPrefix(o.Name, b.prefix), nil) {
					return
				}
			}
		}
	}
}

// Folders implements [backup.Objects].
func (b *Bucket) Folders(ctx context.Context, prefix string) (names []string, err error) {
	for page, err := range b.pages(ctx, url.Values{"prefix": {b.prefix + prefix}, "delimiter": {"/"}}) {
		if err != nil {
			return nil, err
		}
		for _, p := range page.Prefixes {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(p, b.prefix+prefix), "/"))
		}
	}
	slices.Sort(names)
	return names, nil
}

// A request is one of the JSON API's, which may be sent more than once.
type request struct {
	method, path string
	query        url.Values
	kind         string // of the body
	body         []byte
	most         int64 // bytes of the answer
}

// ask sends a request until it is answered, and takes the answer. What is refused for now, lost or cut off is sent again: all requests here
// may be, since an object is made once.
func (b *Bucket) ask(ctx context.Context, r *request, take func([]byte) error) error {
	for attempt := 1; ; attempt++ {
		text, err := b.send(ctx, r)
		if err == nil {
			err = take(text)
		}
		wait, again := retry(err, attempt)
		if !again {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil { // also where both came at once
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// retry says whether another attempt may help, and when.
func retry(err error, attempt int) (wait time.Duration, again bool) {
	if err == nil || attempt >= maxAttempts {
		return 0, false
	}
	wait = min(firstWait<<(attempt-1), maxWait)
	wait = wait/2 + rand.N(wait/2)
	if refused := (*Error)(nil); errors.As(err, &refused) {
		if refused.RetryAfter > 0 && refused.RetryAfter <= maxWait {
			wait = refused.RetryAfter
		}
		return wait, refused.Code == http.StatusRequestTimeout || refused.Code == http.StatusTooManyRequests || refused.Code >= 500
	}
	return wait, true
}

func (b *Bucket) send(ctx context.Context, q *request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, q.method, b.opts.Endpoint+q.path+"?"+q.query.Encode(), bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	if q.kind != "" {
		r.Header.Set("Content-Type", q.kind)
	}
	r.Header.Set("Accept-Encoding", "identity") // objects are as they were written
	if err := b.authorize(r); err != nil {
		return nil, fmt.Errorf("there is no access token to be had: %w", err)
	}
	resp, err := b.opts.Client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("no answer of Cloud Storage: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, q.most+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, refusal(resp, text)
	case err != nil:
		return nil, fmt.Errorf("the answer of Cloud Storage is cut off: %w", err)
	case int64(len(text)) > q.most:
		return nil, &Error{Code: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("the answer has more than %d bytes", q.most)}
	}
	return text, nil
}

func (b *Bucket) authorize(r *http.Request) error {
	if b.account != nil {
		return b.account.Authorize(r)
	}
	token, err := b.opts.Token(r.Context())
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return err
}

// An Error is a refusal of Cloud Storage: https://docs.cloud.google.com/storage/docs/json_api/v1/status-codes.
type Error struct {
	Code       int           // HTTP status
	Message    string        // the service's own words
	RetryAfter time.Duration // 0 where it does not say
}

// Error says what was refused, and what to do.
func (e *Error) Error() string {
	said := fmt.Sprintf("Cloud Storage answers %d", e.Code)
	if e.Message != "" {
		said += ": " + e.Message
	}
	switch e.Code {
	case http.StatusUnauthorized:
		said += ": check the credentials that the command runs with"
	case http.StatusForbidden:
		said += ": grant roles/storage.objectCreator and roles/storage.objectViewer on the bucket"
	case http.StatusNotFound:
		said += ": is there such a bucket?"
	}
	return said
}

func refusal(resp *http.Response, body []byte) *Error {
	var a struct {
		Error struct{ Message string }
	}
	json.Unmarshal(body, &a) // a proxy may answer with something else
	e := &Error{Code: resp.StatusCode, Message: a.Error.Message}
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}
