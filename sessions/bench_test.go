package sessions_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// plant is what the benchmarks measure the engine in: a server that answers
// after its latency, and a storage in memory. Both count.
type plant struct {
	noList

	latency      time.Duration
	refreshToken string // the rest of each, after its number

	storage    logical.Storage
	operations atomic.Int64 // of the storage
	writes     atomic.Int64
	calls      atomic.Int64 // to the server
	tokens     atomic.Int64

	logoutsNow, logoutsPeak atomic.Int64
}

// The sizes of Keycloak 26's tokens in the tests' realms.
const (
	accessTokenSize  = 1200
	refreshTokenSize = 700
)

func newPlant() *plant {
	return &plant{storage: &logical.InmemStorage{}, refreshToken: strings.Repeat("r", refreshTokenSize-10)}
}

func (p *plant) engine() *sessions.Engine {
	return sessions.New(sessions.Options{Storage: countingStorage{p}, Directory: p, Providers: p, Logger: hclog.NewNullLogger(), Version: "1.2.3"})
}

// Settings implements sessions.Directory.
func (p *plant) Settings(context.Context, sessions.AccountID) (sessions.Settings, error) {
	return sessions.Settings{Upstream: p, Limits: sessions.Limits{RequestTimeout: 10 * time.Second, Capabilities: p.Capabilities()}}, nil
}

// KeptAlive implements sessions.Directory.
func (p *plant) KeptAlive(context.Context) ([]sessions.AccountID, error) { return nil, nil }

// Connection implements providers.Upstream.
func (p *plant) Connection() providers.Connection {
	return providers.Connection{Provider: "plant", RequestTimeout: 10 * time.Second}
}

// Lookup implements sessions.Providers.
func (p *plant) Lookup(string) (providers.Provider, bool) { return reacher{p}, true }

// reacher is the provider of the one client that a test has.
type reacher struct{ client providers.Client }

func (r reacher) Describe() providers.Description { return providers.Description{} }

func (r reacher) Normalize(a providers.Account) (providers.Account, error) { return a, nil }

func (r reacher) Connect(providers.Account) (providers.Upstream, error) { return nil, errInjected }

func (r reacher) Headers(providers.Account, providers.TokenResponse) map[string]string { return nil }

func (r reacher) Client(providers.Connection) (providers.Client, error) {
	return r.client, nil
}

// Capabilities implements providers.Upstream.
func (p *plant) Capabilities() providers.Capabilities {
	return providers.Capabilities{Sessions: true, Logout: true}
}

// Login implements providers.Upstream.
func (p *plant) Login(context.Context, providers.LoginRequest) (providers.TokenResponse, error) {
	return p.answer(), nil
}

// Refresh implements providers.Upstream.
func (p *plant) Refresh(context.Context, providers.Secret) (providers.TokenResponse, error) {
	return p.answer(), nil
}

// Logout implements providers.Client.
func (p *plant) Logout(context.Context, providers.SessionTokens) error {
	p.calls.Add(1)
	n := p.logoutsNow.Add(1)
	defer p.logoutsNow.Add(-1)
	for peak := p.logoutsPeak.Load(); n > peak; peak = p.logoutsPeak.Load() {
		if p.logoutsPeak.CompareAndSwap(peak, n) {
			break
		}
	}
	time.Sleep(p.latency)
	return nil
}

var accessToken = strings.Repeat("a", accessTokenSize-10)

func (p *plant) answer() providers.TokenResponse {
	p.calls.Add(1)
	time.Sleep(p.latency)
	n := p.tokens.Add(1)
	return providers.TokenResponse{
		AccessToken: providers.NewSecret(fmt.Sprintf("%s%010d", accessToken, n)), TokenType: "Bearer", ExpiresIn: time.Hour,
		RefreshToken: providers.NewSecret(fmt.Sprintf("%s%010d", p.refreshToken, n)), RefreshExpiresIn: time.Hour,
	}
}

type countingStorage struct{ *plant }

func (s countingStorage) List(ctx context.Context, prefix string) ([]string, error) {
	s.operations.Add(1)
	return s.storage.List(ctx, prefix)
}

func (s countingStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	s.operations.Add(1)
	return s.storage.Get(ctx, key)
}

func (s countingStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	s.operations.Add(1)
	s.writes.Add(1)
	return s.storage.Put(ctx, entry)
}

func (s countingStorage) Delete(ctx context.Context, key string) error {
	s.operations.Add(1)
	s.writes.Add(1)
	return s.storage.Delete(ctx, key)
}

// BenchmarkHotAcquireAndRelease: a live shared session that another lease holds
// is read and given back, without storage and without the server.
func BenchmarkHotAcquireAndRelease(b *testing.B) {
	p := newPlant()
	e := p.engine()
	defer e.Stop()
	_, err := e.Acquire(b.Context(), shared)
	require.NoError(b, err)
	operations, calls := p.operations.Load(), p.calls.Load()
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			lease, err := e.Acquire(context.Background(), shared)
			if err != nil {
				b.Error(err)
				return
			}
			if err := e.Release(context.Background(), lease.Ref); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(p.operations.Load()-operations)/float64(b.N), "storage-ops/op")
	b.ReportMetric(float64(p.calls.Load()-calls)/float64(b.N), "calls/op")
}

// BenchmarkHotAcquire grants leases that nobody gives back before their end.
func BenchmarkHotAcquire(b *testing.B) {
	p := newPlant()
	e := p.engine()
	defer e.Stop()
	_, err := e.Acquire(b.Context(), shared)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Acquire(context.Background(), shared); err != nil {
			b.Fatal(err)
		}
	}
}

// loginLatency is about what Keycloak takes to check a password on two cores.
const loginLatency = 200 * time.Millisecond

// BenchmarkAThousandColdReaders: all at once, of an account that nobody is
// logged in to. ratio is the 99th percentile of their waiting to a login alone.
func BenchmarkAThousandColdReaders(b *testing.B) {
	const readers = 1000
	for b.Loop() {
		p := newPlant()
		p.latency = loginLatency
		e := p.engine()
		begin := time.Now()
		_, err := e.Acquire(b.Context(), sessions.Request{Account: "alone", Mode: providers.Shared})
		alone := time.Since(begin)
		require.NoError(b, err)
		calls := p.calls.Load()

		waits := make([]time.Duration, readers)
		var all sync.WaitGroup
		for i := range readers {
			all.Go(func() {
				begin := time.Now()
				if _, err := e.Acquire(context.Background(), shared); err != nil {
					b.Error(err)
				}
				waits[i] = time.Since(begin)
			})
		}
		all.Wait()
		e.Stop()
		slices.Sort(waits)
		p99 := waits[readers*99/100]
		b.ReportMetric(float64(p.calls.Load()-calls), "logins")
		b.ReportMetric(float64(alone)/1e6, "ms-one-login")
		b.ReportMetric(float64(p99)/1e6, "ms-p99")
		b.ReportMetric(float64(p99)/float64(alone), "ratio")
	}
}

const (
	manyAccounts       = 10_000
	sessionsPerAccount = 10
)

// BenchmarkScale holds 100,000 dedicated sessions of 10,000 accounts, then
// starts again on their ledger.
func BenchmarkScale(b *testing.B) {
	for b.Loop() {
		p := newPlant()
		e := p.engine()
		begin := time.Now()
		var all sync.WaitGroup
		for worker := range 16 {
			all.Go(func() {
				for i := worker; i < manyAccounts; i += 16 {
					r := sessions.Request{Account: sessions.AccountID(fmt.Sprintf("account-%05d", i)), Mode: providers.Dedicated}
					for range sessionsPerAccount {
						if _, err := e.Acquire(context.Background(), r); err != nil {
							b.Error(err)
						}
					}
				}
			})
		}
		all.Wait()
		const n = manyAccounts * sessionsPerAccount
		b.ReportMetric(float64(time.Since(begin).Microseconds())/n, "µs/login")
		with := heapInUse()
		e.Stop()
		runtime.KeepAlive(e)
		e = nil
		without := heapInUse()
		b.ReportMetric(float64(with-without)/n, "B/session")

		begin = time.Now()
		e = p.engine()
		e.Start()
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			if e.Loaded() == manyAccounts {
				break
			}
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s-start")
		with = heapInUse()
		e.Stop()
		e = nil
		b.ReportMetric(float64(with-heapInUse())/n, "B/session-restarted")
		runtime.KeepAlive(p)
	}
}

func heapInUse() int64 {
	for range 4 { // what package unique holds goes in steps
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
