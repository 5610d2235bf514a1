package backend

import (
	"runtime"

	"github.com/pantaindex/vault-plugin-secrets-panta/paths"
)

// Set by the linker: -X <this package>.version=… -X <this package>.commit=….
var (
	version = "v0.0.0-dev"
	commit  = "unknown" //nolint:gochecknoglobals // the linker can set nothing else
)

// Build says what this program was built from.
func Build() paths.Build {
	return paths.Build{Version: version, Commit: commit, GoVersion: runtime.Version()}
}
