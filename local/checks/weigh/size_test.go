package weigh

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// What Firestore bills as stored: https://firebase.google.com/docs/firestore/storage-size

func text(s string) int { return len(s) + 1 }

// nameSize is that of a document by its path inside the database.
func nameSize(path string) int {
	n := 16
	for part := range strings.SplitSeq(path, "/") {
		if part != "" {
			n += text(part)
		}
	}
	return n
}

// parent is the path of the document above, "" at the root.
func parent(path string) string {
	parts := strings.Split(path, "/")
	return strings.Join(parts[:len(parts)-2], "/")
}

func valueSize(v *pb.Value) (n int) {
	switch x := v.GetValueType().(type) {
	case *pb.Value_NullValue, *pb.Value_BooleanValue:
		return 1
	case *pb.Value_IntegerValue, *pb.Value_DoubleValue, *pb.Value_TimestampValue:
		return 8
	case *pb.Value_StringValue:
		return text(x.StringValue)
	case *pb.Value_BytesValue:
		return len(x.BytesValue)
	case *pb.Value_ReferenceValue:
		return nameSize(inside(x.ReferenceValue))
	case *pb.Value_GeoPointValue:
		return 16
	case *pb.Value_ArrayValue:
		for _, e := range x.ArrayValue.GetValues() {
			n += valueSize(e)
		}
	case *pb.Value_MapValue:
		for k, e := range x.MapValue.GetFields() {
			n += text(k) + valueSize(e)
		}
	}
	return n
}

// A share is the bytes of some fields of a document, and of the index entries that these alone cause.
type share struct{ stored, indexed int }

func (s share) total() int { return s.stored + s.indexed }

// weight is that of a document: of all that it has but some fields, which are paid for each call, and of these.
func weight(d *pb.Document, x indexes, perCall ...string) (document, calls share) {
	name := inside(d.GetName())
	entry := nameSize(name) + nameSize(parent(name)) + 32
	document.stored = nameSize(name) + 32
	collection := strings.Split(name, "/")[0]
	for field, v := range d.GetFields() {
		s := &document
		for _, f := range perCall {
			if f == field {
				s = &calls
			}
		}
		s.stored += text(field) + valueSize(v)
		if x.exempt(collection, field) {
			continue
		}
		if elements, ok := v.GetValueType().(*pb.Value_ArrayValue); ok {
			for _, e := range elements.ArrayValue.GetValues() {
				s.indexed += entry + text(field) + valueSize(e)
			}
			continue
		}
		s.indexed += 2 * (entry + text(field) + valueSize(v)) // ascending and descending
	}
	for _, i := range x.Indexes {
		if i.Collection != collection {
			continue
		}
		entries, size := 1, entry
		for _, f := range i.Fields {
			v := d.GetFields()[f.Path]
			if f.Order == "CONTAINS" {
				entries = len(v.GetArrayValue().GetValues())
			}
			size += valueSize(v) / max(1, len(v.GetArrayValue().GetValues()))
		}
		document.indexed += entries * size
	}
	return document, calls
}

// indexes are what Terraform declares.
type indexes struct {
	Indexes []struct {
		Collection string
		Fields     []struct{ Path, Order string }
	}
	TTLs, Unindexed []struct{ Collection, Field string }
}

func (x indexes) exempt(collection, field string) bool {
	for _, e := range append(x.Unindexed[:len(x.Unindexed):len(x.Unindexed)], x.TTLs...) {
		if e.Collection == collection && e.Field == field {
			return true
		}
	}
	return false
}

func declared(t *testing.T) (x indexes) {
	t.Helper()
	content, err := os.ReadFile(root + "function/internal/store/firestore/declared.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// TestSizes holds the sizes against the examples of Google's page.
func TestSizes(t *testing.T) {
	str := func(s string) *pb.Value { return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: s}} }
	task := &pb.Document{Name: "projects/p/databases/(default)/documents/users/jeff/tasks/my_task_id", Fields: map[string]*pb.Value{
		"type": str("Personal"), "description": str("Learn Cloud Firestore"),
		"done": {ValueType: &pb.Value_BooleanValue{}}, "priority": {ValueType: &pb.Value_IntegerValue{IntegerValue: 1}},
	}}
	name := inside(task.GetName())
	if got := nameSize(name); got != 44 {
		t.Errorf("the name: %d, and Google says 44", got)
	}
	document, _ := weight(task, indexes{})
	if document.stored != 147 {
		t.Errorf("the document: %d, and Google says 147", document.stored)
	}
	rest, done := weight(task, indexes{}, "done")
	if done.stored != 6 || done.indexed != 2*109 || rest.stored != 141 {
		t.Errorf("the field done: %+v, and Google says 6 and 109 for each of its two entries; the rest: %+v", done, rest)
	}
	composite := indexes{TTLs: []struct{ Collection, Field string }{{"users", "type"}, {"users", "description"}, {"users", "done"}, {"users", "priority"}}}
	composite.Indexes = append(composite.Indexes, struct {
		Collection string
		Fields     []struct{ Path, Order string }
	}{"users", []struct{ Path, Order string }{{"done", "ASCENDING"}, {"priority", "ASCENDING"}}})
	if got, _ := weight(task, composite); got.indexed != 112 {
		t.Errorf("the entry of done and priority: %d, and Google says 112", got.indexed)
	}
}
