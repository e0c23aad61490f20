package weigh

import (
	"context"
	"io"
	"net"
	"path"
	"strings"
	"sync"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
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
	conn, err := grpc.NewClient("passthrough:///"+before, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{address: l.Addr().String()}
	s := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(func(_ any, in grpc.ServerStream) error { return m.handOn(conn, in) }))
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

func (m *meter) handOn(conn *grpc.ClientConn, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	out, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	asked := make(chan error, 1)
	go func() {
		for {
			var message []byte
			err := in.RecvMsg(&message)
			if err == io.EOF {
				asked <- out.CloseSend()
				return
			}
			if err == nil {
				m.asked(path.Base(method), message)
				err = out.SendMsg(&message)
			}
			if err != nil {
				asked <- err
				cancel()
				return
			}
		}
	}()
	answers := 0
	for {
		var message []byte
		err := out.RecvMsg(&message)
		switch {
		case err == io.EOF:
			m.answered(path.Base(method), answers)
			in.SetTrailer(out.Trailer())
			return nil
		case err != nil:
			in.SetTrailer(out.Trailer())
			return err
		}
		if header, err := out.Header(); err == nil && answers == 0 {
			in.SetHeader(header)
		}
		answers += reads(path.Base(method), message)
		if err := in.SendMsg(&message); err != nil {
			return status.Error(codes.Canceled, "the server has gone")
		}
	}
}

// asked counts the writes of a request.
func (m *meter) asked(method string, message []byte) {
	if method != "Commit" && method != "BatchWrite" {
		return
	}
	var r pb.CommitRequest // both have the writes in field 2
	if proto.Unmarshal(message, &r) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range r.Writes {
		if w.GetUpdate() != nil { // nothing is deleted but by TTL policies
			m.written = append(m.written, w.GetUpdate())
		}
	}
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

// raw leaves messages as they are.
type raw struct{}

// Marshal implements [encoding.CodecV2].
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal implements [encoding.CodecV2].
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// Name implements [encoding.CodecV2].
func (raw) Name() string { return "proto" }

var _ encoding.CodecV2 = raw{}
