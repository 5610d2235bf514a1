package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// meter shows what was counted.
type meter interface {
	Text() (body []byte, contentType string, err error)
	Values() (map[string]any, error)
}

// Metrics returns the path that Prometheus scrapes. What it counts is in the
// memory of the active node, so it is forwarded.
func Metrics(m meter) []*framework.Path {
	p := metricsPath{meter: m}
	return []*framework.Path{{
		Pattern:         "metrics",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "metrics"},
		HelpSynopsis:    metricsSynopsis,
		HelpDescription: metricsDescription,
		Fields: fields{
			"format": query(text("prometheus answers Prometheus' text format, which is no JSON. The default is JSON.")),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: p.read,
				Summary:  "Read the metrics of this mount.",
				Responses: answers("The metrics. With format=prometheus it is a text of its own content type instead.", fields{
					"metrics": object("By name: help, and the series with their labels and value; of a histogram, count and sum."),
				}),
				ForwardPerformanceStandby:   true,
				ForwardPerformanceSecondary: true,
			},
		},
	}}
}

type metricsPath struct{ meter meter }

func (p metricsPath) read(_ context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	switch data.Get("format").(string) {
	case "", "json":
		values, err := p.meter.Values()
		if err != nil {
			return failure("metrics", err)
		}
		return &logical.Response{Data: map[string]any{"metrics": values}}, nil
	case "prometheus":
		body, contentType, err := p.meter.Text()
		if err != nil {
			return failure("metrics", err)
		}
		return &logical.Response{Data: map[string]any{
			logical.HTTPContentType: contentType,
			logical.HTTPRawBody:     body,
			logical.HTTPStatusCode:  ok,
		}}, nil
	default:
		return logical.ErrorResponse("field \"format\": is not known; use prometheus or json"), nil
	}
}

const (
	metricsSynopsis    = `Metrics of this mount, for Prometheus.`
	metricsDescription = `
Prometheus scrapes it with a token of Vault whose policy can read this path:

  metrics_path: /v1/panta/metrics
  params: { format: [prometheus] }
  authorization: { credentials_file: /run/prometheus/vault-token }

Accounts appear with their first use after a start of the plugin. The label config
is the config's name; it is empty for accounts whose config has been deleted and
whose sessions are not all logged out.

  $ vault read -format=json panta/metrics
  $ vault read -format=raw panta/metrics format=prometheus
  $ curl -H "X-Vault-Token: $VAULT_TOKEN" "$VAULT_ADDR/v1/panta/metrics?format=prometheus"
`
)
