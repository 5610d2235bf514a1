package telemetry

import (
	"bytes"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Metrics are those of one mount. Their registry is their own: all mounts share
// one process. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	events   *prometheus.CounterVec
	refused  *prometheus.CounterVec

	readings func() []sessions.Reading

	mu    sync.Mutex
	known map[string]bool // the configs that the last scrape showed
}

var _ sessions.Observer = (*Metrics)(nil)

// Build says which plugin is running.
type Build struct{ Version, Commit string }

// NewMetrics returns metrics that count nothing yet. Call Watch before the first
// scrape.
func NewMetrics(b Build) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panta_upstream_calls_total",
			Help: "Calls to identity servers that have ended, by operation (login, refresh, logout and others) and result: success, or the kind of failure.",
		}, []string{"config", "operation", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "panta_upstream_call_duration_seconds",
			Help:    "How long calls to identity servers took.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"config", "operation"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panta_events_total",
			Help: "What happened to sessions and accounts, by the names of Vault's events without their prefix.",
		}, []string{"config", "event"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panta_creds_refused_total",
			Help: "Reads of creds that got no token, by the reason.",
		}, []string{"config", "reason"}),
		known: map[string]bool{},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "panta_build_info",
		Help:        "Always 1. The labels say which plugin is running.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit},
	})
	build.Set(1)
	m.registry.MustRegister(m.calls, m.duration, m.events, m.refused, build)
	return m
}

// Watch has each scrape ask how the accounts stand, and how many events were
// dropped.
func (m *Metrics) Watch(readings func() []sessions.Reading, dropped func() uint64) {
	m.readings = readings
	m.registry.MustRegister(newAccounts(readings, time.Now), prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "panta_events_dropped_total",
		Help: "Events that were not sent, since Vault's event bus did not take those before in time.",
	}, func() float64 { return float64(dropped()) }))
}

// Called implements sessions.Observer.
func (m *Metrics) Called(config, op string, took time.Duration, err *providers.Error) {
	result := "success"
	if err != nil {
		result = err.Kind.String()
	}
	m.calls.WithLabelValues(config, op, result).Inc()
	m.duration.WithLabelValues(config, op).Observe(took.Seconds())
}

// Noted implements sessions.Observer.
func (m *Metrics) Noted(config string, n machine.Note) {
	m.events.WithLabelValues(config, string(n.What)).Inc()
}

// Refused implements sessions.Observer.
func (m *Metrics) Refused(config string, r machine.Reason) {
	m.refused.WithLabelValues(config, string(r)).Inc()
}

// Text returns all metrics in Prometheus' text format, and its content type.
func (m *Metrics) Text() (body []byte, contentType string, err error) {
	families, err := m.gather()
	if err != nil {
		return nil, "", err
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return nil, "", err
		}
	}
	return b.Bytes(), string(expfmt.NewFormat(expfmt.TypeTextPlain)), nil
}

// Values returns the same metrics as data for JSON, by their names.
func (m *Metrics) Values() (map[string]any, error) {
	families, err := m.gather()
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	for _, f := range families {
		series := []any{}
		for _, one := range f.GetMetric() {
			series = append(series, valueOf(one))
		}
		all[f.GetName()] = map[string]any{"help": f.GetHelp(), "series": series}
	}
	return all, nil
}

func (m *Metrics) gather() ([]*dto.MetricFamily, error) {
	m.tidy()
	families, err := m.registry.Gather()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = map[string]bool{}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				if l.GetName() == "config" {
					m.known[l.GetValue()] = true
				}
			}
		}
	}
	return families, err
}

// tidy begins each config's event counters at 0, since Prometheus sees no
// increase where a series only begins, and ends the series of deleted configs.
func (m *Metrics) tidy() {
	there := map[string]bool{}
	for _, r := range m.readings() {
		there[r.Config] = true
		for _, o := range machine.Occurrences() {
			m.events.WithLabelValues(r.Config, string(o))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for config := range m.known {
		if !there[config] {
			for _, vec := range []interface {
				DeletePartialMatch(prometheus.Labels) int
			}{m.calls, m.duration, m.events, m.refused} {
				vec.DeletePartialMatch(prometheus.Labels{"config": config})
			}
		}
	}
}

// valueOf is one series: its labels, and its value; of a histogram how many
// there were, and their sum.
func valueOf(m *dto.Metric) map[string]any {
	labels := map[string]string{}
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	one := map[string]any{"labels": labels}
	switch {
	case m.GetCounter() != nil:
		one["value"] = m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		one["value"] = m.GetGauge().GetValue()
	case m.GetHistogram() != nil:
		one["count"], one["sum"] = m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()
	}
	return one
}
