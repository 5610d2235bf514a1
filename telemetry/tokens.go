package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// tokens collects when personal access tokens end.
type tokens struct {
	ends func() map[string]time.Time // by config
	desc *prometheus.Desc
}

// WatchTokens has each scrape ask when the configs' personal access tokens end.
func (m *Metrics) WatchTokens(ends func() map[string]time.Time) {
	m.registry.MustRegister(&tokens{ends: ends, desc: prometheus.NewDesc(
		"panta_personal_access_token_end_timestamp_seconds",
		"When a personal access token ends. Not there where its config has no expires_at.",
		[]string{"config"}, nil,
	)})
}

// Describe implements prometheus.Collector.
func (t *tokens) Describe(ch chan<- *prometheus.Desc) { ch <- t.desc }

// Collect implements prometheus.Collector.
func (t *tokens) Collect(ch chan<- prometheus.Metric) {
	for config, end := range t.ends() {
		ch <- prometheus.MustNewConstMetric(t.desc, prometheus.GaugeValue, seconds(end), config)
	}
}
