package e2e

import (
	"os"
	"testing"

	"github.com/skiff-project/skiff/e2e/framework"
)

func TestMain(m *testing.M) { os.Exit(framework.Main(m)) }

// Images that clusters bring along.
const (
	tool    = "ghcr.io/skiff-project/tool:v1"
	busybox = "busybox:1.36"
)
