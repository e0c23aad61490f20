package weigh

import (
	"net"
	"path"
	"strings"
	"sync"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"example.com/erlmcp/local/checks/world"
)

// A meter stands between a server and Firestore, hands on what both say, and counts what Firestore bills:
// https://firebase.google.com/docs/firestore/pricing
type meter struct {
	address string

	mu      sync.Mutex
	reads   int
	written []*pb.Document // one for each write
}

// newMeter returns one before the Firestore at an address.
func newMeter(t *testing.T, before string) *meter {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+before, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(world.Raw{})))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{address: l.Addr().String()}
	s := grpc.NewServer(grpc.ForceServerCodecV2(world.Raw{}), grpc.UnknownServiceHandler(func(_ any, in grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(in)
		answers := 0
		err := world.HandOn(conn, in, m.asked, func(method string, message []byte) { answers += reads(method, message) })
		if err == nil {
			m.answered(path.Base(method), answers)
		}
		return err
	}))
	go s.Serve(l)
	t.Cleanup(func() { s.Stop(); conn.Close() })
	return m
}

// counts are what was counted so far.
func (m *meter) counts() (reads int, written []*pb.Document) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads, append([]*pb.Document(nil), m.written...)
}

// asked counts the writes of a request.
func (m *meter) asked(method string, message []byte) error {
	if method != "Commit" && method != "BatchWrite" {
		return nil
	}
	var r pb.CommitRequest // both have the writes in field 2
	if err := proto.Unmarshal(message, &r); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range r.Writes {
		if w.GetUpdate() != nil { // nothing is deleted but by TTL policies
			m.written = append(m.written, w.GetUpdate())
		}
	}
	return nil
}

// reads is how many documents an answer brings.
func reads(method string, message []byte) int {
	switch method {
	case "BatchGetDocuments":
		var r pb.BatchGetDocumentsResponse
		if proto.Unmarshal(message, &r) == nil && r.Result != nil {
			return 1 // a document that is missing is billed, too
		}
	case "RunQuery":
		var r pb.RunQueryResponse
		if proto.Unmarshal(message, &r) == nil && r.Document != nil {
			return 1
		}
	}
	return 0
}

// answered counts the reads of a request. A query that finds nothing is billed as one.
func (m *meter) answered(method string, n int) {
	if method == "RunQuery" {
		n = max(n, 1)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads += n
}

// of are the documents of a collection.
func of(collection string, documents []*pb.Document) (out []*pb.Document) {
	for _, d := range documents {
		if path.Base(path.Dir(d.GetName())) == collection {
			out = append(out, d)
		}
	}
	return out
}

// inside is what a document's name says after that of its database.
func inside(name string) string {
	_, name, _ = strings.Cut(name, "/documents/")
	return name
}
