package backend_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/backend"
)

// askedView counts what crosses the plugin's boundary.
type askedView struct {
	*logical.StaticSystemView
	questions atomic.Int64
}

func (v *askedView) DefaultLeaseTTL() time.Duration {
	v.questions.Add(1)
	return v.StaticSystemView.DefaultLeaseTTL()
}

func (v *askedView) MaxLeaseTTL() time.Duration {
	v.questions.Add(1)
	return v.StaticSystemView.MaxLeaseTTL()
}

func (v *askedView) ReplicationState() consts.ReplicationState {
	v.questions.Add(1)
	return v.StaticSystemView.ReplicationState()
}

func (v *askedView) LocalMount() bool {
	v.questions.Add(1)
	return v.StaticSystemView.LocalMount()
}

func TestAThousandRequestsInASecondAskVaultAtMostTwiceWhatItsMountIs(t *testing.T) {
	view := &askedView{StaticSystemView: logical.TestSystemView()}
	storage := &logical.InmemStorage{}
	b, err := backend.Factory()(t.Context(), &logical.BackendConfig{StorageView: storage, System: view, Logger: hclog.NewNullLogger()})
	require.NoError(t, err)
	begin := time.Now()
	for range 1000 {
		resp, err := b.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/none", Storage: storage})
		require.NoError(t, err)
		require.ErrorContains(t, resp.Error(), "there is no role or config")
	}
	seconds := int64(time.Since(begin)/time.Second) + 1
	require.Positive(t, view.questions.Load())
	require.LessOrEqual(t, view.questions.Load(), 4*(seconds+1), "four answers, each remembered for a second")
}
