package telemetry_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
	"github.com/pantaindex/vault-plugin-secrets-panta/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape returns the metrics of these accounts, one series a line.
func scrape(t *testing.T, m *telemetry.Metrics) []string {
	t.Helper()
	body, contentType, err := m.Text()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(contentType, "text/plain; version=0.0.4"), contentType)
	var series []string
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, "#") {
			series = append(series, strings.TrimSpace(line))
		}
	}
	return series
}

func newMetrics(readings *[]sessions.Reading) *telemetry.Metrics {
	m := telemetry.NewMetrics(telemetry.Build{Version: "v1.2.3", Commit: "abc"})
	m.Watch(func() []sessions.Reading { return *readings }, func() uint64 { return 9 })
	return m
}

// busy is an account of which there is something to say everywhere.
func busy(config string) sessions.Reading {
	soon := time.Unix(4e9, 5e8)
	return sessions.Reading{
		Config: config, Hits: 7, Misses: 2,
		Status: sessions.Status{
			Usage: machine.Usage{Limit: 5, Open: 1, Closing: 1, People: 1}, Clock: machine.Clock{Known: true, Drift: -time.Second}, Orphans: 6, Waiting: 4, States: map[machine.State]int{machine.StateOpen: 1, machine.StateWaiting: 2},
			OldestLogout: time.Now().Add(-time.Minute),
			KeepAlive:    machine.KeepAlive{Interval: time.Hour, LastLogin: time.Unix(3e9, 0), Problem: "s3cret"},
			Guard:        machine.Guard{ClosedUntil: soon, Strikes: 2, FullUntil: soon, Reason: "s3cret", FullReason: "s3cret"},
			PausedUntil:  soon, PauseReason: "s3cret",
		},
	}
}

func TestAScrapeShowsWhenPersonalAccessTokensEnd(t *testing.T) {
	m := newMetrics(&[]sessions.Reading{})
	ends := map[string]time.Time{"eu1-pat": time.Unix(1893456000, 0)}
	m.WatchTokens(func() map[string]time.Time { return ends })
	require.Contains(t, scrape(t, m), `panta_personal_access_token_end_timestamp_seconds{config="eu1-pat"} 1.893456e+09`)
	ends = nil
	require.NotContains(t, strings.Join(scrape(t, m), "\n"), "eu1-pat")
}

func TestAScrapeShowsHowTheAccountsStand(t *testing.T) {
	m := newMetrics(&[]sessions.Reading{busy("eu1"), {Config: "dmo"}})
	series := scrape(t, m)
	for _, want := range []string{
		`panta_build_info{commit="abc",version="v1.2.3"} 1`,
		`panta_sessions{config="eu1",state="open"} 1`,
		`panta_sessions{config="eu1",state="waiting for logout"} 2`,
		`panta_sessions{config="eu1",state="unknown"} 0`,
		`panta_events_dropped_total 9`,
		`panta_sessions_in_use{config="eu1"} 3`,
		`panta_sessions_max{config="eu1"} 5`,
		`panta_sessions_foreign{config="eu1",owner="people"} 1`,
		`panta_sessions_foreign{config="eu1",owner="stray"} 0`,
		`panta_clock_drift_seconds{config="eu1"} -1`,
		`panta_orphans_closed_total{config="eu1"} 6`,
		`panta_keepalive_last_login_timestamp_seconds{config="eu1"} 3e+09`,
		`panta_readers_waiting{config="eu1"} 4`,
		`panta_logins_held_until_timestamp_seconds{cause="credentials",config="eu1"} 4.0000000005e+09`,
		`panta_logins_held_until_timestamp_seconds{cause="limit",config="eu1"} 4.0000000005e+09`,
		`panta_logins_held_until_timestamp_seconds{cause="pause",config="eu1"} 4.0000000005e+09`,
		`panta_logins_refused_in_a_row{config="eu1"} 2`,
		`panta_creds_reads_total{cache="hit",config="eu1",kind="creds"} 7`,
		`panta_creds_reads_total{cache="miss",config="eu1",kind="creds"} 2`,
		`panta_events_total{config="eu1",event="session-opened"} 0`,
		`panta_sessions_in_use{config="dmo"} 0`,
		`panta_logout_pending_seconds{config="dmo"} 0`,
		`panta_logins_held_until_timestamp_seconds{cause="credentials",config="dmo"} 0`,
	} {
		require.Contains(t, series, want)
	}
	all := strings.Join(series, "\n")
	require.NotContains(t, all, `panta_sessions_max{config="dmo"}`, "there is no limit")
	require.NotContains(t, all, `panta_keepalive_last_login_timestamp_seconds{config="dmo"}`, "none is known")
	require.Regexp(t, `panta_logout_pending_seconds\{config="eu1"\} 6\d\.`, all)
}

func TestWhatHappensIsCounted(t *testing.T) {
	m := newMetrics(&[]sessions.Reading{{Config: "eu1"}})
	m.Called("eu1", "login", 30*time.Millisecond, nil)
	m.Called("eu1", "login", 3*time.Second, &providers.Error{Kind: providers.BadCredentials, Message: "s3cret"})
	m.Noted("eu1", machine.Note{What: machine.SessionOpened, Session: "ses", Detail: "s3cret"})
	m.Refused("eu1", machine.BudgetFull)
	series := scrape(t, m)
	for _, want := range []string{
		`panta_upstream_calls_total{config="eu1",operation="login",result="success"} 1`,
		`panta_upstream_calls_total{config="eu1",operation="login",result="bad credentials"} 1`,
		`panta_upstream_call_duration_seconds_bucket{config="eu1",operation="login",le="0.05"} 1`,
		`panta_upstream_call_duration_seconds_bucket{config="eu1",operation="login",le="5"} 2`,
		`panta_upstream_call_duration_seconds_sum{config="eu1",operation="login"} 3.03`,
		`panta_upstream_call_duration_seconds_count{config="eu1",operation="login"} 2`,
		`panta_events_total{config="eu1",event="session-opened"} 1`,
		`panta_creds_refused_total{config="eu1",reason="budget full"} 1`,
	} {
		require.Contains(t, series, want)
	}
}

func TestNoMetricHoldsWhatAServerSaid(t *testing.T) {
	m := newMetrics(&[]sessions.Reading{busy("eu1"), busy(""), busy("")})
	m.Called("eu1", "login", time.Second, &providers.Error{Message: "s3cret", Host: "s3cret"})
	m.Noted("eu1", machine.Note{What: machine.AccountGuarded, Session: "ses", Detail: "s3cret"})
	body, _, err := m.Text()
	require.NoError(t, err)
	values, err := m.Values()
	require.NoError(t, err)
	encoded, err := json.Marshal(values)
	require.NoError(t, err)
	require.NotContains(t, string(body)+string(encoded), "s3cret")
	require.NotContains(t, string(body)+string(encoded), `"ses"`, "an id for each session would be a series for each")
}

func TestAccountsWithoutConfigAreToldAsOne(t *testing.T) {
	series := scrape(t, newMetrics(&[]sessions.Reading{busy(""), busy("eu1"), busy("")}))
	require.Contains(t, series, `panta_sessions_in_use{config=""} 6`)
	require.Contains(t, series, `panta_sessions{config="",state="waiting for logout"} 4`)
	require.Contains(t, series, `panta_creds_reads_total{cache="hit",config="",kind="creds"} 14`)
	require.Contains(t, series, `panta_sessions_in_use{config="eu1"} 3`)
}

func TestTheSeriesOfADeletedConfigEnd(t *testing.T) {
	readings := []sessions.Reading{{Config: "eu1"}, {Config: "dmo"}}
	m := newMetrics(&readings)
	m.Called("eu1", "login", time.Second, nil)
	require.Contains(t, strings.Join(scrape(t, m), "\n"), `"eu1"`)
	readings = readings[1:]
	require.NotContains(t, strings.Join(scrape(t, m), "\n"), `"eu1"`)
}

func TestMetricsAreCleanByPrometheusRules(t *testing.T) {
	m := newMetrics(&[]sessions.Reading{busy("eu1"), busy("")})
	for _, op := range []string{"login", "refresh", "logout"} {
		m.Called("eu1", op, time.Second, nil)
	}
	m.Refused("eu1", machine.Guarded)
	body, _, err := m.Text()
	require.NoError(t, err)
	problems, err := promlint.New(strings.NewReader(string(body))).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestTheSameMetricsAsJSON(t *testing.T) {
	m := newMetrics(&[]sessions.Reading{busy("eu1")})
	m.Called("eu1", "login", 2*time.Second, nil)
	values, err := m.Values()
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"help":   "How long calls to identity servers took.",
		"series": []any{map[string]any{"labels": map[string]string{"config": "eu1", "operation": "login"}, "count": uint64(1), "sum": 2.0}},
	}, values["panta_upstream_call_duration_seconds"])
	require.Equal(t, map[string]any{
		"help":   "Sessions that count towards max_sessions.",
		"series": []any{map[string]any{"labels": map[string]string{"config": "eu1"}, "value": 3.0}},
	}, values["panta_sessions_in_use"])
	body, _, err := m.Text()
	require.NoError(t, err)
	for name := range values {
		require.Contains(t, string(body), "\n# TYPE "+name+" ")
	}
}

func TestSeriesOfConfigsThatCameAndWentBetweenTwoScrapesEnd(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.Build{})
	m.Watch(func() []sessions.Reading { return nil }, func() uint64 { return 0 })
	for i := range 1000 {
		m.Called(fmt.Sprintf("ci-%d", i), "login", time.Second, nil)
	}
	_, _, err := m.Text()
	require.NoError(t, err)
	text, _, err := m.Text()
	require.NoError(t, err)
	require.Zero(t, strings.Count(string(text), `panta_upstream_calls_total{config="ci-`), "%d bytes", len(text))
}
