package server

import (
	"encoding/json"
	"net/http"
	"runtime"

	"k8s.io/apimachinery/pkg/version"
)

// Version is what /version says: the Kubernetes version whose API is served, and by whom.
type Version struct {
	Git, Commit, State, BuildDate string
}

// Current is the version of the API that this tree implements. Commit and BuildDate are set by the linker.
var Current = Version{Git: "v1.37.2+skiff", Commit: commit, State: "clean", BuildDate: buildDate}

// Set by -ldflags "-X github.com/skiff-project/skiff/apiserver/server.commit=...".
var (
	commit    = "unknown"
	buildDate = "1970-01-01T00:00:00Z"
)

func (v Version) handler() http.Handler {
	body, err := json.MarshalIndent(version.Info{
		Major: "1", Minor: "37", EmulationMajor: "1", EmulationMinor: "37", MinCompatibilityMajor: "1", MinCompatibilityMinor: "36",
		GitVersion: v.Git, GitCommit: v.Commit, GitTreeState: v.State, BuildDate: v.BuildDate,
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}, "", "  ")
	if err != nil {
		panic(err) // plain strings always encode
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET")
			http.Error(w, "405: Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}
