// Package runtimes proves on a real host that what runs servers (units, compose projects,
// quadlets) confines them, comes back from what fails, and shows what somebody has changed.
//
// It is a package of its own beside e2e so that the two, each with a VM, run side by side.
package runtimes

import (
	"os"
	"testing"

	"github.com/llmhost/llmhost/test/vmtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m, "runtimes")) }
