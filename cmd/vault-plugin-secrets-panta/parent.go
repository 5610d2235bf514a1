//go:build !windows

package main

import (
	"os"
	"time"
)

// parentLook is how often the plugin looks for its Vault. A Vault that is
// started anew needs longer than that to start its plugins.
const parentLook = 100 * time.Millisecond

// endWithParent ends the process once its Vault is gone. A Vault that is killed
// leaves its plugins to themselves: one that went on would refresh and log out
// sessions that the plugin of the next Vault has taken over, and could record
// nothing of it.
func endWithParent() {
	vault := os.Getppid()
	for os.Getppid() == vault {
		time.Sleep(parentLook)
	}
	os.Exit(1)
}
