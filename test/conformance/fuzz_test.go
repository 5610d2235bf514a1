package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin/pb"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// answerLimit is how long the plugin may take for one call of the fuzzers.
const answerLimit = 20 * time.Second

// alive fails where the process did not survive a call, or was silent.
func (p *process) alive(t *testing.T, err error) {
	t.Helper()
	code := status.Code(err)
	require.False(t, code == codes.Unavailable || code == codes.DeadlineExceeded, "no answer: %v", err)
	require.False(t, p.client.Exited(), "the process ended")
	require.NoError(t, p.rpc.Ping())
}

// FuzzRequests sends requests of Vault's form with whatever in their fields.
func FuzzRequests(f *testing.F) {
	p := start(f, false)
	m := p.initialized("a", &logical.InmemStorage{})
	writeDMO(f, m, emulator(f).url)
	client := pb.NewBackendClient(tagged{p.rpc.Conn, m.id})

	f.Add("read", "creds/dmo", []byte(`{"min_ttl":"1m"}`), []byte(`{}`))
	f.Add("update", "creds/dmo", []byte(`{"otp":123456}`), []byte(`null`))
	f.Add("create", "config/x", []byte(`{"provider":"ocp","username":{"a":[1]}}`), []byte(`{}`))
	f.Add("update", "config/dmo", []byte(`{"password":true,"scopes":{}}`), []byte(`{}`))
	f.Add("list", "sessions/", []byte(`[]`), []byte(`{}`))
	f.Add("delete", "sessions/dmo/x", []byte(`null`), []byte(`{}`))
	f.Add("revoke", "creds/dmo", []byte(`{}`), []byte(`{"secret_type":"token","version":1e99,"session":{}}`))
	f.Add("renew", "creds/dmo", []byte(`{}`), []byte(`{"secret_type":"token"}`))
	f.Add("read", "metrics", []byte(`{"format":"prometheus\u0000"}`), []byte(`{}`))
	f.Add("rollback", "", []byte(`{}`), []byte(`{}`))
	f.Add("help", "config/../..//", []byte(`{`), []byte(`}`))
	f.Fuzz(func(t *testing.T, operation, path string, data, internal []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), answerLimit)
		defer cancel()
		request := &pb.Request{
			ID: "fuzz", Operation: operation, Path: path, Data: string(data), MountPoint: "panta/",
			Secret: &pb.Secret{InternalData: string(internal), LeaseID: "panta/creds/dmo/x", LeaseOptions: &pb.LeaseOptions{}},
		}
		_, err := client.HandleRequest(ctx, &pb.HandleRequestArgs{Request: request})
		p.alive(t, err)
		_, err = client.HandleExistenceCheck(ctx, &pb.HandleExistenceCheckArgs{Request: request})
		p.alive(t, err)
	})
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) {
	if b, ok := v.(*[]byte); ok {
		return *b, nil
	}
	return nil, errors.New("not bytes")
}

func (raw) Unmarshal(data []byte, v any) error {
	if b, ok := v.(*[]byte); ok {
		*b = data
	}
	return nil
}

// FuzzBytes sends what need not be a message at all.
func FuzzBytes(f *testing.F) {
	p := start(f, false)
	m := p.initialized("a", &logical.InmemStorage{})
	methods := []string{"HandleRequest", "HandleExistenceCheck", "InvalidateKey", "Initialize", "SpecialPaths", "Type"}
	seed, err := proto.Marshal(&pb.HandleRequestArgs{Request: &pb.Request{Operation: "read", Path: "info", Data: "{}"}})
	require.NoError(f, err)
	for i := range methods {
		f.Add(uint8(i), seed)
		f.Add(uint8(i), []byte("\x0a\x02\x18\xff"))
	}
	f.Fuzz(func(t *testing.T, which uint8, message []byte) {
		method := methods[int(which)%len(methods)]
		// A request without a request panics in Vault's sdk, before the plugin sees
		// it; Vault never sends one.
		var args pb.HandleRequestArgs
		if which%uint8(len(methods)) < 2 && proto.Unmarshal(message, &args) == nil && args.GetRequest() == nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), answerLimit)
		defer cancel()
		var answer []byte
		p.alive(t, p.rpc.Conn.Invoke(forMount(ctx, m.id), "/pb.Backend/"+method, &message, &answer, grpc.ForceCodec(raw{})))
	})
}
