package firestore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	tools "example.com/erlmcp/function/internal/backend/firestore"
	source "example.com/erlmcp/function/internal/backend/firestore/documents"
	"example.com/erlmcp/function/internal/backend/firestore/firestoretest"
)

// filled returns a collection of the documents, beside others of its name and in its folders.
func filled(t *testing.T, all []source.Document) (*Collections, source.Collection) {
	c, err := OpenCollections(t.Context(), Options{Project: fmt.Sprintf("test-%d", time.Now().UnixNano()), Databases: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	bulk := c.client.BulkWriter(t.Context())
	for _, d := range all {
		for _, path := range []string{"shops/main/orders", "shops/other/orders", "orders"} {
			fields := c.stored(d.Fields).(map[string]any)
			if path != "shops/main/orders" {
				fields["mark"] = "mark of another collection"
			}
			if _, err := bulk.Set(c.client.Collection(path).Doc(d.ID), fields); err != nil {
				t.Fatal(err)
			}
		}
	}
	bulk.End()
	return c, c.Collection("shops/main/orders")
}

// TestCollections has the emulator find what a look at each document finds, and tools over it let out what they may alone.
func TestCollections(t *testing.T) {
	emulator(t)
	open := func(t *testing.T, all []source.Document) source.Collection {
		_, c := filled(t, all)
		return c
	}
	firestoretest.TestCollection(t, open)
	firestoretest.TestTools(t, open)
}

// TestCollectionsJSON compares what a tool shows of each type of value with what Firestore's own JSON has of it.
func TestCollectionsJSON(t *testing.T) {
	emulator(t)
	fields := map[string]any{}
	for i, v := range firestoretest.Values {
		fields[fmt.Sprint("v", i)] = v
	}
	c, collection := filled(t, []source.Document{{ID: "all types", Fields: fields}})
	s := &tools.Source{Name: "all", Collection: "shops/main/orders", Shared: true, Tools: []tools.Tool{{Read: tools.Get}}}
	answer, refusal := firestoretest.NewCaller(t, s, collection, nil).Call("all_get", map[string]any{"id": "all types"}, false)
	if refusal != "" {
		t.Fatal(refusal)
	}
	var shown, stored struct{ Fields map[string]any }
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+os.Getenv("FIRESTORE_EMULATOR_HOST")+"/v1/"+c.prefix+"shops/main/orders/"+url.PathEscape("all types"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer owner")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	for text, into := range map[string]any{answer: &shown, string(body): &stored} {
		d := json.NewDecoder(bytes.NewReader([]byte(text)))
		d.UseNumber()
		if err := errors.Join(err, d.Decode(into)); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	if len(shown.Fields) != len(firestoretest.Values) {
		t.Errorf("%d of %d values are shown", len(shown.Fields), len(firestoretest.Values))
	}
	for name, v := range stored.Fields {
		if want := plain(t, c, v.(map[string]any)); !reflect.DeepEqual(numbered(shown.Fields[name]), want) {
			t.Errorf("%s is shown as %v, and stored as %v", name, shown.Fields[name], v)
		}
	}
}

// numbered has doubles be compared by their values.
func numbered(v any) any {
	switch v := v.(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") {
			return f
		}
	case []any:
		for i := range v {
			v[i] = numbered(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = numbered(v[name])
		}
	}
	return v
}

// plain takes the types off a value in Firestore's JSON: https://docs.cloud.google.com/firestore/docs/reference/rest/Shared.Types/Value.
func plain(t *testing.T, c *Collections, value map[string]any) any {
	for kind, v := range value {
		switch kind {
		case "integerValue":
			return json.Number(v.(string))
		case "doubleValue":
			n, ok := v.(json.Number)
			if !ok {
				return v // NaN, Infinity
			}
			f, _ := n.Float64()
			if text := strconv.FormatFloat(f, 'g', -1, 64); !strings.ContainsAny(text, ".e") {
				return json.Number(text) // a whole double stands in JSON without a point
			}
			return f
		case "referenceValue":
			return strings.TrimPrefix(v.(string), c.prefix)
		case "geoPointValue":
			point := map[string]any{"latitude": json.Number("0"), "longitude": json.Number("0")}
			for name, n := range v.(map[string]any) {
				f, _ := n.(json.Number).Float64()
				point[name] = numbered(json.Number(strconv.FormatFloat(f, 'g', -1, 64)))
			}
			return point
		case "arrayValue":
			list := []any{}
			values, _ := v.(map[string]any)["values"].([]any)
			for _, e := range values {
				list = append(list, plain(t, c, e.(map[string]any)))
			}
			return list
		case "mapValue":
			members := map[string]any{}
			inner, _ := v.(map[string]any)["fields"].(map[string]any)
			for name, e := range inner {
				members[name] = plain(t, c, e.(map[string]any))
			}
			if members["__type__"] == "__vector__" {
				return members["value"]
			}
			return members
		default:
			return v
		}
	}
	t.Fatalf("%v is no value", value)
	return nil
}

// TestCollectionsAway has a database that is not there be said to be so.
func TestCollectionsAway(t *testing.T) {
	t.Setenv("FIRESTORE_EMULATOR_HOST", "")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	c, err := OpenCollections(ctx, Options{Project: "p", Databases: []string{"d"}, Emulator: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, v := range firestoretest.Values {
		back := c.value(c.stored(v))
		if f, ok := v.(float64); ok && math.IsNaN(f) {
			v, back = "NaN", fmt.Sprint(back)
		}
		if !reflect.DeepEqual(back, v) {
			t.Errorf("%v comes back as %v", v, back)
		}
	}
	other := source.Reference("projects/p/databases/other/documents/a/b")
	if back := c.value(c.stored(other)); back != other {
		t.Errorf("a reference to another database comes back as %v", back)
	}
	if c.Collection("a/b") != nil {
		t.Error("a document is taken for a collection")
	}
	d, err := c.Collection("a").Get(ctx, "x")
	if d != nil || !errors.Is(err, source.ErrUnavailable) {
		t.Errorf("%v, %v", d, err)
	}
	for d, err := range c.Collection("a").Find(ctx, source.Query{Limit: 1}) {
		if d != nil || !errors.Is(err, source.ErrUnavailable) {
			t.Errorf("%v, %v", d, err)
		}
	}
	if _, err := OpenCollections(ctx, Options{Project: "p", Databases: []string{"a", "b", "c"}}); err == nil {
		t.Error("three databases are opened")
	}
}
