package paths_test

import (
	"errors"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// meter has counted one thing.
type meter struct{ broken error }

func (m *meter) Text() (body []byte, contentType string, err error) {
	return []byte("things_total 1\n"), "text/plain; version=0.0.4", m.broken
}

func (m *meter) Values() (map[string]any, error) { return map[string]any{"things_total": 1}, m.broken }

func TestMetricsAsJSONAndForPrometheus(t *testing.T) {
	h := newMount(t)
	require.Equal(t, map[string]any{"metrics": map[string]any{"things_total": 1}}, h.read("metrics", nil).Data)
	require.Equal(t, h.read("metrics", nil).Data, h.read("metrics", map[string]any{"format": "json"}).Data)

	// The raw answer has no schema: it is not JSON.
	resp, err := h.handler.HandleRequest(t.Context(), &logical.Request{
		Operation: logical.ReadOperation, Path: "metrics", Data: map[string]any{"format": "prometheus"}, Storage: h.storage,
	})
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		logical.HTTPContentType: "text/plain; version=0.0.4", logical.HTTPRawBody: []byte("things_total 1\n"), logical.HTTPStatusCode: 200,
	}, resp.Data)

	require.Equal(t, `field "format": is not known; use prometheus or json`, h.read("metrics", map[string]any{"format": "xml"}).text)
	h.engine.broken = errors.New("it does not count")
	for _, format := range []string{"json", "prometheus"} {
		a := h.read("metrics", map[string]any{"format": format})
		require.Equal(t, 500, a.status)
		require.Equal(t, "metrics: it does not count", a.text)
	}
}
