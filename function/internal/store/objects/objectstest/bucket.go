// Package objectstest stands in for a bucket of Cloud Storage whose retention policy is locked, as the reference of the JSON API describes
// it, and holds the suite of [backup.Objects].
package objectstest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Name is that of the bucket.
const Name = "erlmcp-backups"

// A Bucket is a handler, for a test to serve. Nothing in it can be overwritten or deleted, an object whose checksum does not fit is not
// made, and one that should not be there yet (ifGenerationMatch=0) is refused where it is.
type Bucket struct {
	Token  string // that requests must have; "" for none
	Page   int    // names on a page at most; 0 for 1000
	Meddle func(r *http.Request) Fault

	mu      sync.Mutex
	objects map[string][]byte
	refused []string
}

// A Fault is what befalls a request.
type Fault struct {
	Status int  // is answered, and nothing done; 0 for none
	Lost   bool // it is done, and the connection ends without an answer
	Cut    bool // the answer ends in its middle
}

// NewBucket returns an empty one.
func NewBucket() *Bucket { return &Bucket{objects: map[string][]byte{}} }

// Objects are what is in it.
func (b *Bucket) Objects() map[string][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.objects)
}

// Refused are the requests that would have changed or deleted an object, which a bucket with retention does not let happen.
func (b *Bucket) Refused() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.refused)
}

// Forget takes an object away, which only a test can.
func (b *Bucket) Forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, name)
}

// ServeHTTP serves one request.
func (b *Bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var fault Fault
	if b.Meddle != nil {
		fault = b.Meddle(r)
	}
	if fault.Status != 0 {
		w.Header().Set("Retry-After", "1")
		fail(w, fault.Status, "try again")
		return
	}
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	if b.Token != "" && r.Header.Get("Authorization") != "Bearer "+b.Token {
		fail(answer, http.StatusUnauthorized, "Invalid Credentials")
	} else {
		b.serve(answer, r, body)
	}
	if fault.Lost {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.header)
	w.Header().Set("Content-Length", strconv.Itoa(answer.body.Len()))
	w.WriteHeader(answer.status)
	if text := answer.body.Bytes(); fault.Cut {
		w.Write(text[:len(text)/2])
		panic(http.ErrAbortHandler)
	} else {
		w.Write(text)
	}
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

func fail(w http.ResponseWriter, status int, words string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": words}})
}

func (b *Bucket) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	path := r.URL.EscapedPath()
	name, one := strings.CutPrefix(path, "/storage/v1/b/"+Name+"/o/")
	name, err := url.PathUnescape(name)
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, err.Error())
	case r.Method == http.MethodPost && path == "/upload/storage/v1/b/"+Name+"/o" && r.URL.Query().Get("uploadType") == "multipart":
		b.upload(w, r, body)
	case r.Method == http.MethodGet && one:
		b.read(w, r, name)
	case r.Method == http.MethodGet && path == "/storage/v1/b/"+Name+"/o":
		b.list(w, r.URL.Query())
	case one && b.objects[name] != nil: // DELETE, PATCH, PUT
		b.refused = append(b.refused, r.Method+" "+name)
		fail(w, http.StatusForbidden, "Object is subject to bucket's retention policy and cannot be deleted or overwritten until it expires.")
	default:
		fail(w, http.StatusNotFound, "Not Found")
	}
}

type about struct {
	Name   string `json:"name"`
	CRC32C string `json:"crc32c"`
	Size   string `json:"size"`
}

func aboutOf(name string, content []byte) about {
	sum := crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))
	return about{name, base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)), strconv.Itoa(len(content))}
}

func (b *Bucket) upload(w http.ResponseWriter, r *http.Request, body []byte) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/related" {
		fail(w, http.StatusBadRequest, "multipart/related is wanted")
		return
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	var texts [][]byte
	for part, err := parts.NextRawPart(); err == nil; part, err = parts.NextRawPart() {
		text, err := io.ReadAll(part)
		if err != nil {
			break
		}
		texts = append(texts, text)
	}
	var said about
	if len(texts) != 2 || json.Unmarshal(texts[0], &said) != nil || said.Name == "" {
		fail(w, http.StatusBadRequest, "two parts are wanted, of which the first names the object")
		return
	}
	made := aboutOf(said.Name, texts[1])
	old, there := b.objects[said.Name]
	switch match := r.URL.Query().Get("ifGenerationMatch"); {
	case said.CRC32C != "" && said.CRC32C != made.CRC32C:
		fail(w, http.StatusBadRequest, "Provided CRC32C does not match calculated CRC32C.")
	case there && match == "0":
		fail(w, http.StatusPreconditionFailed, "At least one of the pre-conditions you specified did not hold.")
	case there:
		b.refused = append(b.refused, "POST "+said.Name+" over "+strconv.Itoa(len(old))+" bytes")
		fail(w, http.StatusForbidden, "Object is subject to bucket's retention policy and cannot be deleted or overwritten until it expires.")
	default:
		b.objects[said.Name] = texts[1]
		json.NewEncoder(w).Encode(made)
	}
}

func (b *Bucket) read(w http.ResponseWriter, r *http.Request, name string) {
	content, there := b.objects[name]
	switch {
	case !there:
		fail(w, http.StatusNotFound, "No such object: "+name)
	case r.URL.Query().Get("alt") == "media":
		w.Write(content)
	default:
		json.NewEncoder(w).Encode(aboutOf(name, content))
	}
}

func (b *Bucket) list(w http.ResponseWriter, q url.Values) {
	size := 1000
	if n, err := strconv.Atoi(q.Get("maxResults")); err == nil {
		size = min(size, n)
	}
	if b.Page > 0 {
		size = min(size, b.Page)
	}
	items, prefixes := []about{}, []string{}
	next := ""
	for _, name := range slices.Sorted(maps.Keys(b.objects)) {
		rest, begins := strings.CutPrefix(name, q.Get("prefix"))
		if !begins || name < q.Get("startOffset") || name <= q.Get("pageToken") {
			continue
		}
		if d := q.Get("delimiter"); d != "" {
			if folder, _, below := strings.Cut(rest, d); below {
				p := q.Get("prefix") + folder + d
				if len(prefixes) > 0 && prefixes[len(prefixes)-1] == p {
					next = name
					continue
				}
				if strings.HasPrefix(q.Get("pageToken"), p) {
					continue
				}
				if len(items)+len(prefixes) >= size {
					writeList(w, items, prefixes, next)
					return
				}
				prefixes, next = append(prefixes, p), name
				continue
			}
		}
		if len(items)+len(prefixes) >= size {
			writeList(w, items, prefixes, next)
			return
		}
		items, next = append(items, about{Name: name}), name
	}
	writeList(w, items, prefixes, "")
}

func writeList(w http.ResponseWriter, items []about, prefixes []string, next string) {
	out := map[string]any{"kind": "storage#objects"}
	if len(items) > 0 {
		out["items"] = items
	}
	if len(prefixes) > 0 {
		out["prefixes"] = prefixes
	}
	if next != "" {
		out["nextPageToken"] = next
	}
	json.NewEncoder(w).Encode(out)
}
