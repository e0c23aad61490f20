// Package shipper has a real rsyslog ship the file that a real server logs to, by the configuration that the documents show, to a server that
// takes what Elasticsearch takes.
package shipper

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// An elastic plays Elasticsearch 8's bulk API as https://www.elastic.co/docs/api/doc/elasticsearch/v8/operation/operation-bulk has it. Some
// requests it refuses, some records it has no room for, and some of its answers are lost.
type elastic struct {
	mu     sync.Mutex
	draw   *rand.Rand
	part   float64                      // of requests that are refused, and of answers that are lost; of records for which there is no room a twentieth of that
	docs   map[string]map[string]string // the source by id, by index
	faults []string                     // of the shipper's
	counts map[string]int
}

// What names of indices may have: https://www.elastic.co/docs/api/doc/elasticsearch/v8/operation/operation-indices-create.
var indexName = regexp.MustCompile(`^[^-_+A-Z\\/*?"<>| ,#:][^A-Z\\/*?"<>| ,#:]{0,254}$`)

// ServeHTTP implements [http.Handler].
func (e *elastic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	fault := func(status int, format string, args ...any) {
		e.faults = append(e.faults, fmt.Sprintf(format, args...))
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"type": "illegal_argument_exception", "reason": fmt.Sprintf(format, args...)}, "status": status})
	}
	if user, password, ok := r.BasicAuth(); !ok || user != "erlmcp" || password != "password" {
		fault(http.StatusUnauthorized, "nobody says who it is")
		return
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead { // whether it is there
		return
	}
	if r.URL.Path != "/_bulk" || r.Method != http.MethodPost && r.Method != http.MethodPut {
		fault(http.StatusMethodNotAllowed, "%s %s", r.Method, r.URL)
		return
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if version := params["compatible-with"]; err != nil || kind != "application/json" && kind != "application/x-ndjson" && kind != "application/vnd.elasticsearch+x-ndjson" || version != "" && version != "8" {
		fault(http.StatusUnsupportedMediaType, "Content-Type header [%s] is not supported", r.Header.Get("Content-Type"))
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(r.Body); err != nil {
			fault(http.StatusBadRequest, "%v", err)
			return
		}
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return
	}
	e.counts["requests"]++
	if e.draw.Float64() < e.part {
		e.counts["refused"]++
		status := []int{429, 503}[e.draw.IntN(2)]
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"root_cause":[{"type":"circuit_breaking_exception","reason":"Data too large"}],"type":"circuit_breaking_exception","reason":"Data too large"},"status":%d}`, status)
		return
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		fault(http.StatusBadRequest, `The bulk request must be terminated by a newline [\n]`)
		return
	}
	items, failed, err := e.bulk(text)
	if err != nil {
		fault(http.StatusBadRequest, "%v", err)
		return
	}
	if e.draw.Float64() < e.part {
		e.counts["lost"]++
		panic(http.ErrAbortHandler) // it is done, and nobody hears of it
	}
	json.NewEncoder(w).Encode(map[string]any{"took": 1, "errors": failed, "items": items})
}

// bulk does what lines in pairs say.
func (e *elastic) bulk(text []byte) (items []any, failed bool, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n += 2 {
		var action map[string]map[string]any
		if err := json.Unmarshal(lines.Bytes(), &action); err != nil || len(action) != 1 {
			return nil, false, fmt.Errorf("malformed action/metadata line [%d], %s", n, lines.Text())
		}
		create, index, id := false, "", ""
		for verb, of := range action {
			for key, value := range of {
				switch text, _ := value.(string); key {
				case "_index":
					index = text
				case "_id":
					id = text
				default:
					return nil, false, fmt.Errorf("action/metadata line [%d] contains an unknown parameter [%s]", n, key)
				}
			}
			if create = verb == "create"; !create && verb != "index" {
				return nil, false, fmt.Errorf("line [%d] is of %s", n, verb)
			}
		}
		if !lines.Scan() {
			return nil, false, fmt.Errorf("line [%d] has no source", n)
		}
		if !indexName.MatchString(index) || strings.HasPrefix(index, ".") {
			return nil, false, fmt.Errorf("invalid index name [%s]", index)
		}
		if id == "" {
			e.counts["ids"]++
			id = fmt.Sprint("own-", e.counts["ids"])
		}
		status := e.put(index, id, lines.Text(), create)
		item := map[string]any{"_index": index, "_id": id, "status": status}
		if status >= 300 {
			failed = true
			item["error"] = map[string]any{"type": map[int]string{400: "document_parsing_exception", 409: "version_conflict_engine_exception", 429: "es_rejected_execution_exception"}[status], "reason": "as it is"}
		}
		verb := "index"
		if create {
			verb = "create"
		}
		items = append(items, map[string]any{verb: item})
	}
	return items, failed, lines.Err()
}

// put keeps a document, and returns the status that it has.
func (e *elastic) put(index, id, source string, create bool) int {
	var doc map[string]any
	if err := json.Unmarshal([]byte(source), &doc); err != nil {
		e.counts["no document"]++
		return http.StatusBadRequest
	}
	if at, ok := doc["@timestamp"].(string); ok { // is mapped as a date once the first has come
		if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
			e.counts["no date"]++
			return http.StatusBadRequest
		}
	}
	if e.draw.Float64() < e.part/20 {
		e.counts["no room"]++
		return http.StatusTooManyRequests
	}
	if e.docs[index] == nil {
		e.docs[index] = map[string]string{}
	}
	if _, there := e.docs[index][id]; there && create {
		e.counts["there already"]++
		return http.StatusConflict
	}
	e.docs[index][id] = source
	return http.StatusCreated
}

// all are the sources, each with how often it is there.
func (e *elastic) all() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]int{}
	for _, docs := range e.docs {
		for _, source := range docs {
			out[canonical(source)]++
		}
	}
	return out
}

// canonical is a record in one form: the order of its members says nothing.
func canonical(record string) string {
	var members map[string]any
	decoder := json.NewDecoder(strings.NewReader(record))
	decoder.UseNumber()
	if err := decoder.Decode(&members); err != nil {
		return record
	}
	text, err := json.Marshal(members)
	if err != nil {
		return record
	}
	return string(text)
}
