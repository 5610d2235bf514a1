package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// Build says what was built, from what and with what.
type Build struct {
	Version   string
	Commit    string
	GoVersion string
}

// Info returns the path that says which plugin is running.
func Info(b Build) []*framework.Path {
	return []*framework.Path{{
		Pattern:         "info",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "info"},
		HelpSynopsis:    infoSynopsis,
		HelpDescription: infoDescription,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.read,
				Summary:  "Read version and build of the running plugin.",
				Responses: answers("Version and build.", fields{
					"version":    required(text("Version of the plugin.")),
					"commit":     required(text("The commit that it was built from, or unknown.")),
					"go_version": required(text("The version of Go that it was built with.")),
				}),
			},
		},
	}}
}

func (b Build) read(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return &logical.Response{Data: map[string]any{
		"version":    b.Version,
		"commit":     b.Commit,
		"go_version": b.GoVersion,
	}}, nil
}

const (
	infoSynopsis    = `Version and build of the running plugin.`
	infoDescription = `After an upgrade this shows whether the new plugin serves the mount yet.`
)
