package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// Databases are those of a store in three parts: of what operators order, of what instances count, of receipts.
var Databases = []string{"erlmcp", "erlmcp-usage", "erlmcp-receipts"}

// Permissions of the roles that functions have on databases: https://docs.cloud.google.com/firestore/docs/security/iam. Adds is the role
// that Terraform makes.
var (
	views = []string{"datastore.databases.get", "datastore.entities.get", "datastore.entities.list"}
	adds  = slices.Concat(views, []string{"datastore.entities.create"})
	uses  = slices.Concat(adds, []string{"datastore.entities.delete", "datastore.entities.update"})
)

// rights are the permissions of each function on each of [Databases], as modules/identity of infra gives them.
var rights = map[string][][]string{
	"erlmcp": {views, uses, adds},
	"taiea":  {uses, uses, adds},
}

// Guarded is the same world, whose store is in three databases and whose servers may do there what their functions' accounts may. What is
// refused fails the test. Commands of the operator's may do all.
func (w *World) Guarded(emulator *Daemon) *World {
	w.t.Helper()
	guarded := w.With(w.t, "FIRESTORE_DATABASE="+strings.Join(Databases, ","))
	guarded.guards = map[string]*guard{}
	for function := range rights {
		g := &guard{function: function}
		g.start(w.t, emulator)
		guarded.guards[function] = g
		w.t.Cleanup(func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.served.Load() && g.asked == 0 {
				w.t.Errorf("%s asked Firestore for nothing: it does not go by this guard", function)
			}
			for _, refused := range g.refused {
				w.t.Errorf("%s was refused by Firestore: %s", function, refused)
			}
		})
	}
	return guarded
}

// A guard stands before Firestore, and hands on what a function's account may ask for.
type guard struct {
	function string
	address  string
	served   atomic.Bool // whether a server was told to go by it

	mu      sync.Mutex
	asked   int
	refused []string
}

// start has it listen.
func (g *guard) start(t *testing.T, emulator *Daemon) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+emulator.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Raw{})))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(Raw{}), grpc.UnknownServiceHandler(func(_ any, in grpc.ServerStream) error {
		return HandOn(conn, in, g.ask, func(string, []byte) {})
	}))
	go s.Serve(l)
	t.Cleanup(func() { s.Stop(); conn.Close() })
	g.address = l.Addr().String()
}

// ask says why a request may not be made.
func (g *guard) ask(method string, message []byte) error {
	database, permissions, err := needs(method, message)
	if err == nil {
		i := slices.Index(Databases, database)
		for _, p := range permissions {
			if i < 0 || !slices.Contains(rights[g.function][i], p) {
				err = fmt.Errorf("%s on %s for %s", p, database, method)
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asked++; err == nil {
		return nil
	}
	if !slices.Contains(g.refused, err.Error()) {
		g.refused = append(g.refused, err.Error())
	}
	return status.Error(codes.PermissionDenied, "Missing or insufficient permissions.")
}

// needs are the permissions that a request needs, by the table at https://docs.cloud.google.com/firestore/docs/security/iam.
func needs(method string, message []byte) (database string, permissions []string, err error) {
	const on = "datastore."
	switch method {
	case "BatchGetDocuments":
		r := &pb.BatchGetDocumentsRequest{}
		err = proto.Unmarshal(message, r)
		database, permissions = r.Database, []string{on + "entities.get"}
		if r.GetNewTransaction() != nil {
			permissions = append(permissions, on+"databases.get")
		}
	case "RunQuery", "RunAggregationQuery":
		r := &pb.RunQueryRequest{} // both have the parent in field 1
		err = proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(message, r)
		database, permissions = r.Parent, []string{on + "entities.get", on + "entities.list"}
	case "BeginTransaction", "Rollback":
		r := &pb.BeginTransactionRequest{} // both have the database in field 1
		err = proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(message, r)
		database, permissions = r.Database, []string{on + "databases.get"}
	case "Commit":
		r := &pb.CommitRequest{}
		err = proto.Unmarshal(message, r)
		database, permissions = r.Database, []string{on + "databases.get"}
		for _, w := range r.Writes {
			permissions = append(permissions, writes(w)...)
		}
	default:
		err = errors.New("nobody has said which permission " + method + " needs")
	}
	if parts := strings.Split(database, "/"); err == nil && len(parts) > 3 {
		return parts[3], permissions, nil
	}
	return database, permissions, err
}

// writes are the permissions that one write of a commit needs.
func writes(w *pb.Write) []string {
	exists, said := w.GetCurrentDocument().GetConditionType().(*pb.Precondition_Exists)
	switch {
	case w.GetDelete() != "":
		return []string{"datastore.entities.delete"}
	case said && !exists.Exists:
		return []string{"datastore.entities.create"}
	case said || w.GetCurrentDocument().GetUpdateTime() != nil:
		return []string{"datastore.entities.update"}
	}
	return []string{"datastore.entities.create", "datastore.entities.update"}
}

// HandOn hands the messages of a call of gRPC on to another server, and its answers back. Ask sees each message first, and may refuse it;
// answered sees each answer.
func HandOn(conn *grpc.ClientConn, in grpc.ServerStream, ask func(method string, message []byte) error, answered func(method string, message []byte)) error {
	full, _ := grpc.MethodFromServerStream(in)
	method := path.Base(full)
	ctx, cancel := context.WithCancelCause(in.Context())
	defer cancel(nil)
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	out, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, full)
	if err != nil {
		return err
	}
	go func() {
		for {
			var message []byte
			err := in.RecvMsg(&message)
			if err == io.EOF {
				out.CloseSend()
				return
			}
			if err == nil {
				err = ask(method, message)
			}
			if err == nil {
				err = out.SendMsg(&message)
			}
			if err != nil {
				cancel(err)
				return
			}
		}
	}()
	for first := true; ; first = false {
		var message []byte
		err := out.RecvMsg(&message)
		if err != nil {
			in.SetTrailer(out.Trailer())
			if refused := context.Cause(ctx); status.Code(refused) == codes.PermissionDenied {
				return refused
			}
			if err == io.EOF {
				return nil
			}
			return err
		}
		if header, err := out.Header(); err == nil && first {
			in.SetHeader(header)
		}
		answered(method, message)
		if err := in.SendMsg(&message); err != nil {
			return status.Error(codes.Canceled, "the server has gone")
		}
	}
}

// Raw leaves messages of gRPC as they are. It implements [encoding.CodecV2].
type Raw struct{}

// Marshal implements [encoding.CodecV2].
func (Raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal implements [encoding.CodecV2].
func (Raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// Name implements [encoding.CodecV2].
func (Raw) Name() string { return "proto" }

var _ encoding.CodecV2 = Raw{}
