// Command dashboard prints examples/prometheus/dashboard.json, a dashboard for
// Grafana: make dashboard. A test runs its queries on a real Prometheus.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// row is a line of panels, of 24 columns in all.
type row struct {
	title  string
	panels []panel
}

// panel is one, with its queries.
type panel struct {
	title, description string
	unit               string
	columns            uint32
	now                bool     // only the newest value, as a number
	warn, alarm        *float64 // from which value on a number is yellow, red
	stacked            bool
	negative           bool // its values may be below 0
	queries            []query
}

// query is an expression and what its series are called.
type query struct{ expr, legend string }

const (
	seconds = "s"
	share   = "percentunit"
	rate    = "ops"
	number  = "short"
)

func rows() []row {
	return []row{
		{"Now", []panel{
			{
				title: "Accounts closed to logins", now: true, unit: number, columns: 4, alarm: new(1.0),
				description: "Logins were refused, or the server reported its session limit. Runbooks: PantaAccountClosed, PantaSessionLimitReported.",
				queries:     []query{{`count(panta_logins_held_until_timestamp_seconds{config=~"$config", cause=~"credentials|limit"} > time()) or vector(0)`, "accounts"}},
			},
			{
				title: "Fullest session budget", now: true, unit: share, columns: 4, warn: new(0.8), alarm: new(1.0),
				description: "Of the accounts with a limit. Runbooks: PantaBudgetFull, PantaBudgetNearlyFull.",
				queries:     []query{{`max(panta_sessions_in_use{config=~"$config"} / panta_sessions_max)`, "in use"}},
			},
			{
				title: "Oldest pending logout", now: true, unit: seconds, columns: 4, warn: new(60.0), alarm: new(600.0),
				description: "Runbook: PantaLogoutPending.",
				queries:     []query{{`max(panta_logout_pending_seconds{config=~"$config"})`, "waiting"}},
			},
			{
				title: "Logins without an answer", now: true, unit: number, columns: 4, warn: new(1.0),
				description: "Each holds a place in its account's budget. Runbook: PantaLoginOutcomeUnknown.",
				queries:     []query{{`sum(panta_sessions{config=~"$config", state="unknown"})`, "unknown"}},
			},
			{
				title: "Failing calls", now: true, unit: share, columns: 4, warn: new(0.05), alarm: new(0.5),
				description: "Of all calls to identity servers. Runbook: PantaServerFailing.",
				queries:     []query{{`(sum(rate(panta_upstream_calls_total{config=~"$config", result!="success"}[$__rate_interval])) or vector(0)) / sum(rate(panta_upstream_calls_total{config=~"$config"}[$__rate_interval]))`, "failing"}},
			},
			{
				title: "Readers waiting", now: true, unit: number, columns: 4, warn: new(10.0),
				description: "For a login, a refresh or the next one-time code.",
				queries:     []query{{`sum(panta_readers_waiting{config=~"$config"})`, "waiting"}},
			},
		}},
		{"Sessions", []panel{
			{
				title: "Sessions by state", unit: number, columns: 12, stacked: true,
				queries: []query{{`sum by (config, state) (panta_sessions{config=~"$config"})`, "{{config}} {{state}}"}},
			},
			{
				title: "Session budget", unit: number, columns: 12,
				description: "Sessions that count, those of people included, against max_sessions.",
				queries: []query{
					{`panta_sessions_in_use{config=~"$config"}`, "{{config}} in use"},
					{`panta_sessions_max{config=~"$config"}`, "{{config}} limit"},
				},
			},
			{
				title: "Sessions of others", unit: number, columns: 8,
				description: "What the server lists and this mount did not open: people, another mount, or strays. Runbook: PantaStraySessions.",
				queries:     []query{{`sum by (config, owner) (panta_sessions_foreign{config=~"$config"})`, "{{config}} {{owner}}"}},
			},
			{
				title: "Pending logouts", unit: number, columns: 8,
				queries: []query{{`sum by (config) (panta_sessions{config=~"$config", state="waiting for logout"})`, "{{config}}"}},
			},
			{
				title: "Oldest pending logout", unit: seconds, columns: 8,
				queries: []query{{`max by (config) (panta_logout_pending_seconds{config=~"$config"})`, "{{config}}"}},
			},
		}},
		{"Identity servers", []panel{
			calls("Logins", "login"),
			calls("Refreshes", "refresh"),
			calls("Logouts", "logout"),
			{
				title: "Duration of calls, median", unit: seconds, columns: 12,
				queries: []query{{quantile("0.5"), "{{config}} {{operation}}"}},
			},
			{
				title: "Duration of calls, 99th percentile", unit: seconds, columns: 12,
				description: "Runbook: PantaServerSlow.",
				queries:     []query{{quantile("0.99"), "{{config}} {{operation}}"}},
			},
		}},
		{"Accounts", []panel{
			{
				title: "Logins held back for", unit: seconds, columns: 8,
				description: "After refused credentials, a reported session limit, or another failure.",
				queries:     []query{{`clamp_min(panta_logins_held_until_timestamp_seconds{config=~"$config"} - time(), 0)`, "{{config}} {{cause}}"}},
			},
			{
				title: "Refused logins in a row", unit: number, columns: 8,
				queries: []query{{`panta_logins_refused_in_a_row{config=~"$config"}`, "{{config}}"}},
			},
			{
				title: "Clock drift", unit: seconds, columns: 8, negative: true,
				description: "How far the server's clock is ahead of Vault's; one-time codes depend on it. Runbook: PantaClockDrift.",
				queries:     []query{{`panta_clock_drift_seconds{config=~"$config"}`, "{{config}}"}},
			},
			{
				title: "Personal access tokens end in", unit: seconds, columns: 12, negative: true,
				description: "Of configs with expires_at. Runbook: PantaPersonalAccessTokenEnds.",
				queries:     []query{{`panta_personal_access_token_end_timestamp_seconds{config=~"$config"} - time()`, "{{config}}"}},
			},
			{
				title: "Since the last login", unit: seconds, columns: 12,
				description: "Of accounts with a keepalive_interval; OCP deactivates an account after 90 days. Runbook: PantaKeepAliveOverdue.",
				queries:     []query{{`time() - panta_keepalive_last_login_timestamp_seconds{config=~"$config"}`, "{{config}}"}},
			},
		}},
		{"Readers", []panel{
			{
				title: "Reads by cache", unit: rate, columns: 8,
				description: "hit: from memory. miss: with a login, a refresh or a wait.",
				queries:     []query{{`sum by (config, cache) (rate(panta_creds_reads_total{config=~"$config"}[$__rate_interval]))`, "{{config}} {{cache}}"}},
			},
			{
				title: "Refused reads by reason", unit: rate, columns: 8,
				queries: []query{{`sum by (config, reason) (rate(panta_creds_refused_total{config=~"$config"}[$__rate_interval]))`, "{{config}} {{reason}}"}},
			},
			{
				title: "Events", unit: number, columns: 8,
				description: "Of the last five minutes; docs/operations.md explains each.",
				queries:     []query{{`sum by (event) (increase(panta_events_total{config=~"$config"}[5m])) > 0`, "{{event}}"}},
			},
		}},
	}
}

// calls shows how often an operation ends with which result.
func calls(title, operation string) panel {
	return panel{
		title: title + " by result", unit: rate, columns: 8,
		queries: []query{{fmt.Sprintf(`sum by (config, result) (rate(panta_upstream_calls_total{config=~"$config", operation=%q}[$__rate_interval]))`, operation), "{{config}} {{result}}"}},
	}
}

func quantile(q string) string {
	return fmt.Sprintf(`histogram_quantile(%s, sum by (config, operation, le) (rate(panta_upstream_call_duration_seconds_bucket{config=~"$config"}[$__rate_interval])))`, q)
}

func main() {
	built, err := build().Build()
	if err == nil {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(built)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

// build makes the classic form of a dashboard, which every Grafana imports.
func build() *dashboard.DashboardBuilder {
	source := common.DataSourceRef{Type: new("prometheus"), Uid: new("${source}")}
	d := dashboard.NewDashboardBuilder("panta secrets engine").
		Uid("vault-plugin-secrets-panta").
		Tags([]string{"vault"}).
		Time("now-3h", "now").
		Refresh("30s").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("source").Label("Prometheus").Type("prometheus")).
		WithVariable(dashboard.NewQueryVariableBuilder("config").Label("Config").
			Datasource(source).
			Query(dashboard.StringOrMap{String: new("label_values(panta_sessions_in_use, config)")}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
			Multi(true).IncludeAll(true).AllValue(".*"))
	id := uint32(0)
	for _, r := range rows() {
		id++
		d.WithRow(dashboard.NewRowBuilder(r.title).Id(id))
		for _, p := range r.panels {
			id++
			d.WithPanel(p.build(id, source))
		}
	}
	return d
}

// panelHeight of a graph, and of a number, in Grafana's units.
const panelHeight, numberHeight = 8, 4

func (p panel) build(id uint32, source common.DataSourceRef) cog.Builder[dashboard.Panel] {
	if p.now {
		s := stat.NewPanelBuilder().Id(id).Title(p.title).Description(p.description).Datasource(source).
			Unit(p.unit).Span(p.columns).Height(numberHeight).
			Thresholds(p.thresholds()).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
			ColorMode(common.BigValueColorModeBackground).GraphMode(common.BigValueGraphModeNone)
		for i, q := range p.queries {
			s.WithTarget(q.build(i))
		}
		return s
	}
	graph := timeseries.NewPanelBuilder().Id(id).Title(p.title).Description(p.description).Datasource(source).
		Unit(p.unit).Span(p.columns).Height(panelHeight).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom))
	if p.stacked {
		graph.FillOpacity(20).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	if !p.negative {
		graph.Min(0)
	}
	for i, q := range p.queries {
		graph.WithTarget(q.build(i))
	}
	return graph
}

func (q query) build(i int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(string(rune('A' + i))).Expr(q.expr).LegendFormat(q.legend)
}

func (p panel) thresholds() *dashboard.ThresholdsConfigBuilder {
	steps := []dashboard.Threshold{{Color: "green"}}
	if p.warn != nil {
		steps = append(steps, dashboard.Threshold{Value: p.warn, Color: "yellow"})
	}
	if p.alarm != nil {
		steps = append(steps, dashboard.Threshold{Value: p.alarm, Color: "red"})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}
