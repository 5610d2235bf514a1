package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

const (
	dashboardFile = "examples/prometheus/dashboard.json"
	picture       = "docs/dashboard.svg"
)

// draw is how long the load lasts that is drawn into docs/dashboard.svg.
var draw = flag.Duration("draw", 0, "draw the dashboard's panels over a load of this length into "+picture)

// board is what the test knows of a dashboard.
type board struct {
	Panels []struct {
		Title   string `json:"title"`
		Type    string `json:"type"`
		GridPos struct {
			X int `json:"x"`
			Y int `json:"y"`
			W int `json:"w"`
			H int `json:"h"`
		} `json:"gridPos"`
		Targets []struct {
			Expr         string `json:"expr"`
			LegendFormat string `json:"legendFormat"`
		} `json:"targets"`
	} `json:"panels"`
}

func readBoard(t *testing.T) board {
	t.Helper()
	var b board
	require.NoError(t, json.Unmarshal([]byte(read(t, dashboardFile)), &b))
	require.Greater(t, len(b.Panels), 15)
	return b
}

// typed is a query as Grafana sends it.
func typed(expr string) string {
	return strings.NewReplacer("$__rate_interval", "15s", "$config", ".*").Replace(expr)
}

func TestPrometheusDashboardIsAsItsProgramMakesIt(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "run", ".")
	cmd.Dir = filepath.Join(root, "tools", "dashboard")
	cmd.Stderr = os.Stderr
	made, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, string(made), read(t, dashboardFile), "make dashboard")
}

// TestPrometheusAnswersEveryQueryOfTheDashboard scrapes a plugin, to which all
// happens that the panels show.
func TestPrometheusAnswersEveryQueryOfTheDashboard(t *testing.T) {
	b := readBoard(t)
	l := newLoad(t)
	p := startPrometheus(t, l.vault)
	begin := time.Now()
	l.begin()

	// Each query has to show something, a value that is not 0.
	missing := map[string]bool{}
	for _, panel := range b.Panels {
		for _, target := range panel.Targets {
			missing[target.Expr] = true
		}
	}
	deadline := time.Now().Add(2 * time.Minute)
	for len(missing) > 0 && time.Now().Before(deadline) {
		for expr := range missing {
			series, err := p.over(t.Context(), typed(expr), begin, time.Now())
			require.NoError(t, err, expr)
			if showsSomething(series) {
				delete(missing, expr)
			}
		}
		l.checkOnce()
		time.Sleep(time.Second) // until the next scrape
	}
	for expr := range missing {
		assert.Fail(t, "nothing to see", expr)
	}
	if *draw > 0 {
		time.Sleep(time.Until(begin.Add(*draw)))
		svg, err := drawBoard(t.Context(), b, p, begin)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(root, picture), svg, 0o644))
	}
}

func showsSomething(series []series) bool {
	for _, s := range series {
		for _, point := range s.points {
			if point.value != 0 && point.value == point.value {
				return true
			}
		}
	}
	return false
}

// load is a plugin in a Vault, before an emulator, that readers keep busy.
type load struct {
	t        *testing.T
	iam      *iam.Server
	upstream string
	vault    *servers.Vault
	client   *api.Client
	readers  sync.WaitGroup
}

func newLoad(t *testing.T) *load {
	t.Helper()
	cfg := iam.Demo()
	for i := range cfg.Realms {
		cfg.Realms[i].TokenLife = 20 * time.Second
	}
	cfg.ClockShift = 2 * time.Second
	l := &load{t: t, iam: iam.New(cfg)}
	server := httptest.NewServer(l.iam)
	t.Cleanup(server.Close)
	l.upstream = server.URL
	plugin, err := servers.Plugin(t.Context())
	require.NoError(t, err)
	l.vault = servers.RunVault(t, servers.Options{Plugin: plugin})
	l.client, err = l.vault.Client()
	require.NoError(t, err)
	l.client.SetMaxRetries(0)

	panta := map[string]any{
		"provider": "panta", "environment": "dmo", "tenant_id": iam.DemoPantaTenant,
		"client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
	}
	ocp := map[string]any{"provider": "ocp", "environment": "eu1"}
	l.config("dmo", panta, map[string]any{"username": iam.DemoPantaUser, "password": iam.DemoPantaPassword})
	l.config("slow", panta, map[string]any{"username": iam.DemoPlainUser, "password": iam.DemoPlainPassword})
	l.config("eu1", ocp, map[string]any{"username": iam.DemoOCPUser, "password": iam.DemoOCPPassword, "totp_secret": iam.DemoTOTPSecret, "max_sessions": 4, "keepalive_interval": "1h"})
	l.config("full", ocp, map[string]any{"username": iam.DemoPlainUser, "password": iam.DemoPlainPassword, "max_sessions": 1, "session_mode": "dedicated"})
	l.config("closed", panta, map[string]any{"username": "nobody", "password": "wrong", "verify": false})
	l.config("pat", ocp, map[string]any{
		"base_url": nil, "auth_method": "pat", "personal_access_token": iam.DemoSwarmPAT,
		"expires_at": time.Now().Add(20 * 24 * time.Hour).Format(time.RFC3339),
	})
	l.config("partner", map[string]any{"provider": "partner"}, map[string]any{"client_id": iam.DemoPartnerID, "client_secret": iam.DemoPartnerSecret})
	return l
}

func (l *load) config(name string, common, own map[string]any) {
	l.t.Helper()
	data := map[string]any{"base_url": l.upstream}
	for _, fields := range []map[string]any{common, own} {
		maps.Copy(data, fields)
	}
	_, err := l.client.Logical().WriteWithContext(l.t.Context(), servers.Mount+"/config/"+name, data)
	require.NoError(l.t, err)
}

// begin has readers read until the test ends, and things go wrong.
func (l *load) begin() {
	ctx, stop := context.WithCancel(l.t.Context())
	l.t.Cleanup(func() {
		stop()
		l.readers.Wait()
	})
	l.personLogsIn()
	// Logouts of Panta fail for a while, and one answer to a login gets lost.
	l.iam.Inject(iam.Fault{Op: iam.OpLogout, Realm: iam.DemoPantaRealm, After: 3, Count: 12, Kind: iam.Status})
	l.iam.Inject(iam.Fault{Op: iam.OpLogin, Realm: iam.DemoPantaRealm, After: 8, Count: 1, Kind: iam.LoseAnswer})
	for name, pause := range map[string]time.Duration{
		"dmo": time.Second, "slow": 2 * time.Second, "eu1": 50 * time.Millisecond,
		"full": time.Second, "closed": time.Second, "partner": 200 * time.Millisecond,
	} {
		l.readers.Go(func() {
			for ctx.Err() == nil {
				lease, err := l.client.Logical().ReadWithContext(ctx, servers.Mount+"/creds/"+name)
				if err == nil && lease != nil && (name == "dmo" || name == "slow") {
					_ = l.client.Sys().RevokeWithContext(ctx, lease.LeaseID)
				}
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
}

// personLogsIn opens a session that is not the plugin's.
func (l *load) personLogsIn() {
	l.t.Helper()
	form := url.Values{
		"grant_type": {"password"}, "client_id": {iam.DemoPantaClient}, "client_secret": {iam.DemoPantaSecret},
		"username": {iam.DemoPantaUser}, "password": {iam.DemoPantaPassword},
	}
	address := l.upstream + "/realms/" + iam.DemoPantaRealm + "/protocol/openid-connect/token"
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	require.NoError(l.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(l.t, err)
	require.NoError(l.t, resp.Body.Close())
	require.Equal(l.t, http.StatusOK, resp.StatusCode)
}

// checkOnce has the engine compare the sessions of dmo with the server's list.
func (l *load) checkOnce() {
	_, _ = l.client.Logical().ReadWithContext(l.t.Context(), servers.Mount+"/check/dmo")
}

// prometheusServer is a running Prometheus.
type prometheusServer struct{ url string }

// startPrometheus scrapes as examples/prometheus/prometheus.yml says, but for
// address and token, and every second.
func startPrometheus(t *testing.T, vault *servers.Vault) *prometheusServer {
	t.Helper()
	program := prometheusProgram(t, "prometheus")
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(token, []byte(vault.Token), 0o600))
	config := strings.NewReplacer(
		"/run/prometheus/vault-token", token,
		"vault.example.com:8200", strings.TrimPrefix(vault.Addr, "http://"),
		"scheme: https", "scheme: http\n    scrape_interval: 1s",
		"- alerts.yml", "- "+absolute(t, "examples/prometheus/alerts.yml"),
	).Replace(read(t, "examples/prometheus/prometheus.yml"))
	file := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))

	port, err := servers.FreePort()
	require.NoError(t, err)
	address := "127.0.0.1:" + strconv.Itoa(port)
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	p := &prometheusServer{url: "http://" + address}
	require.Eventually(t, func() bool {
		series, err := p.over(t.Context(), `up{job="panta"}`, time.Now().Add(-time.Minute), time.Now())
		return err == nil && showsSomething(series)
	}, 30*time.Second, 200*time.Millisecond, "Prometheus does not scrape the plugin")
	return p
}

func absolute(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, file))
	require.NoError(t, err)
	return path
}

// series is what a query answers over a time.
type series struct {
	labels map[string]string
	points []point
}

type point struct{ at, value float64 }

// over runs a query from begin to end, with a point each second.
func (p *prometheusServer) over(ctx context.Context, expr string, begin, end time.Time) ([]series, error) {
	query := url.Values{
		"query": {expr}, "step": {"1s"},
		"start": {strconv.FormatInt(begin.Unix(), 10)}, "end": {strconv.FormatInt(end.Unix(), 10)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/query_range?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Values [][2]any          `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	var all []series
	for _, result := range answer.Data.Result {
		s := series{labels: result.Metric}
		for _, pair := range result.Values {
			at, _ := pair[0].(float64)
			text, _ := pair[1].(string)
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, err
			}
			s.points = append(s.points, point{at, value})
		}
		all = append(all, s)
	}
	return all, nil
}
