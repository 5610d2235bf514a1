package servers

import "context"

// FreePort returns a loopback port for a server that the caller starts; the
// next one is free too.
func FreePort() (int, error) { return freePort() }

// Tool returns the path of a program that scripts/<name> finds or makes.
func Tool(ctx context.Context, name string, args ...string) (string, error) {
	return script(ctx, name, args...)
}

// ModuleRoot returns the module's directory.
func ModuleRoot() (string, error) { return moduleRoot() }
