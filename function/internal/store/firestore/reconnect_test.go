package firestore

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"example.com/erlmcp/function/internal/memnet"
)

// TestReconnects has the store away for times of all sizes, and wants that it is found again within seconds.
func TestReconnects(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, 2 * time.Hour} {
		for _, hangs := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				var network memnet.Network
				ln := network.Listen()
				server := grpc.NewServer() // knows no method, and says so
				go server.Serve(ln)
				defer server.Stop()
				begin := time.Now()
				conn, err := grpc.NewClient("passthrough:///store", append(reconnecting(), grpc.WithTransportCredentials(insecure.NewCredentials()),
					grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
						switch {
						case time.Since(begin) >= away:
							return network.Dial(ctx, "tcp", ln.Addr().String())
						case hangs:
							<-ctx.Done()
							return nil, ctx.Err()
						}
						return nil, errors.New("refused")
					}))...)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				for {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					err := conn.Invoke(ctx, "/store/method", &emptypb.Empty{}, &emptypb.Empty{})
					cancel()
					if status.Code(err) == codes.Unimplemented {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				if late := time.Since(begin) - away; late > 6*time.Second {
					t.Errorf("away for %v (hanging: %t), found %v later", away, hangs, late)
				}
			})
		}
	}
}
