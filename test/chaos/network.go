package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// line is what the network between plugin and identity server does.
type line struct {
	fault string
	toxic string        // JSON of a Toxiproxy toxic; empty: nobody listens
	lasts time.Duration // 0: as long as a token, and then as long again
	// cut says that no answer comes through: what lives on a token goes on, the
	// rest is refused.
	cut bool
}

var lines = []line{
	{fault: "latency of 300 ± 200 ms", toxic: `{"type": "latency", "attributes": {"latency": 300, "jitter": 200}}`, lasts: 15 * time.Second},
	{fault: "a third of connections reset", toxic: `{"type": "reset_peer", "toxicity": 0.33, "attributes": {"timeout": 0}}`, lasts: 20 * time.Second},
	// An answer that is on its way for an hour: the connection stays, and says nothing.
	{fault: "half-open", toxic: `{"type": "latency", "attributes": {"latency": 3600000}}`, cut: true},
	{fault: "down", cut: true},
}

// lasting are lives that leave something of a token when its refresh fails at
// half of it: a lease needs 6 s.
var lasting = lives{token: 24 * time.Second, idle: 50 * time.Second, login: 20 * time.Millisecond}

// requestTimeout is that of the configs.
const requestTimeout = 3 * time.Second

// proxy is Toxiproxy, in this process.
type proxy struct{ *toxiproxy.Proxy }

// throughProxy puts a proxy before the identity server. Its answers are what is
// spoiled, not the requests: a login takes effect, and nobody hears of it.
func (w *world) throughProxy() (*proxy, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "identity server", "127.0.0.1:0", strings.TrimPrefix(w.direct, "http://"))
	if err := p.Start(); err != nil {
		return nil, err
	}
	w.onClose(p.Stop)
	w.upstream = (&url.URL{Scheme: "http", Host: p.Listen}).String()
	return &proxy{p}, nil
}

func (p *proxy) spoil(l line) error {
	if l.toxic == "" {
		p.Stop()
		return nil
	}
	_, err := p.Toxics.AddToxicJson(strings.NewReader(l.toxic))
	return err
}

func (p *proxy) mend(ctx context.Context, l line) error {
	if l.toxic == "" {
		return p.Start()
	}
	p.Toxics.ResetToxics(ctx)
	return nil
}

// cutOff spoils the line between plugin and identity server under load.
func cutOff(ctx context.Context, random *rand.Rand, log func(string, ...any), l lives, what line) (*result, error) {
	w, err := newWorld(random, log, l, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	defer w.close()
	p, err := w.throughProxy()
	if err != nil {
		return nil, err
	}
	if err := w.startVault(ctx, servers.Options{Storage: "raft"}); err != nil {
		return nil, err
	}
	if err := w.configure(ctx); err != nil {
		return nil, err
	}
	t, err := startWitness(ctx, w, accounts)
	if err != nil {
		return nil, err
	}
	readers := startLoad(ctx, w, allReaders())
	r := &result{fault: what.fault, repetitions: 1}
	if err := w.spoiled(ctx, p, what, readers, t, r); err != nil {
		readers.stop()
		t.stop()
		return nil, errors.Join(fmt.Errorf("%s: %w", what.fault, err), broken(readers, t))
	}
	return r, r.finish(ctx, w, readers, t)
}

func (w *world) spoiled(ctx context.Context, p *proxy, what line, l *load, t *witness, r *result) error {
	if err := l.tokenGiven(ctx, 10*time.Second); err != nil {
		return err
	}
	// Somewhere in the life of a token.
	l.rest(ctx, between(w.random, time.Second, w.lives.token/2))
	t.up.Store(!what.cut)
	l.sinceAsked()
	begin := time.Now()
	if err := p.spoil(what); err != nil {
		return err
	}
	if what.cut {
		w.watchCut(ctx, what, l, r)
	} else {
		l.rest(ctx, what.lasts)
		r.judge(l.sinceAsked(), "meanwhile")
	}
	w.log("%s for %s", what.fault, time.Since(begin).Round(time.Millisecond))
	mended := time.Now()
	if err := p.mend(ctx, what); err != nil {
		return err
	}
	if err := l.tokenGiven(ctx, time.Minute); err != nil {
		return err
	}
	recovered := time.Since(mended)
	r.remarks = append(r.remarks, fmt.Sprintf("a token again %s after the end", recovered.Round(10*time.Millisecond)))
	w.log("a token again %s after the end", recovered.Round(time.Millisecond))
	t.up.Store(true)
	l.rest(ctx, 5*time.Second)
	return nil
}

// watchCut watches readers of a live shared session while no answer comes
// through. As long as a lease fits into what is left of the token they notice
// nothing; afterwards they are told at once.
func (w *world) watchCut(ctx context.Context, what line, l *load, r *result) {
	l.mu.Lock()
	sound := l.shared.sound
	l.mu.Unlock()
	l.rest(ctx, time.Until(sound))
	r.judge(l.sinceAsked(), "while the token lived")
	l.rest(ctx, 7*time.Second) // until it is dead
	l.sinceAsked()

	l.rest(ctx, w.lives.token)
	n := l.sinceAsked()
	atOnce := time.Second
	if what.toxic != "" { // the one that logs in waits for the answer
		atOnce += requestTimeout
	}
	if n.refused == 0 {
		r.breaks("nobody was refused although no token lived any more")
	}
	if n.slowest > atOnce {
		r.breaks("a refusal took %s", n.slowest)
	}
	r.remarks = append(r.remarks, fmt.Sprintf("afterwards: %d reads of the shared session refused, the slowest within %s", n.refused, n.slowest.Round(time.Millisecond)))
}

// judge says whether readers of a live shared session have noticed anything.
func (r *result) judge(n seen, when string) {
	r.remarks = append(r.remarks, fmt.Sprintf("%s: %d reads of the shared session refused, the slowest took %s", when, n.noticed, n.slowest.Round(time.Millisecond)))
	if n.noticed > 0 {
		r.breaks("%s: %d reads of a live shared session refused", when, n.noticed)
	}
}
