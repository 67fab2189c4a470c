package client

import (
	"fmt"
	"runtime"
	"strings"

	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config says how to reach the API server.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file. Empty means the service account of the pod that this process runs in.
	Kubeconfig string
	// Master, if set, replaces the server of the kubeconfig.
	Master string
	// Component is the name in the user agent and, by convention, the field manager of what the component writes.
	Component string
	// QPS limits the requests a second that this client makes. Zero means no limit: the server's priority and fairness
	// knows better than any one client who has to wait.
	QPS float32
	// Burst belongs to QPS.
	Burst int
}

// Load answers the configuration that clients are made from.
func Load(c Config) (*rest.Config, error) {
	measure()
	config, err := load(c)
	if err != nil {
		return nil, err
	}
	config.UserAgent = UserAgent(c.Component)
	config.QPS, config.Burst = c.QPS, c.Burst
	if c.QPS == 0 {
		config.QPS = -1
	}
	Protobuf(config)
	// The server is on this machine or on its network; compressing would cost both sides processor time, and this one
	// 40 kB for each of its watches.
	config.DisableCompression = true
	// Warnings are for people who write manifests: a component that reads a deprecated kind knows.
	config.WarningHandler = rest.NoWarnings{}
	return config, nil
}

func load(c Config) (*rest.Config, error) {
	if c.Kubeconfig == "" && c.Master == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no --kubeconfig given and not inside a cluster: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags(c.Master, c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", c.Kubeconfig, err)
	}
	return config, nil
}

// Protobuf makes clients of config ask for and send protobuf. Clients of custom resources need JSON: see JSON.
func Protobuf(config *rest.Config) {
	config.ContentType = apiruntime.ContentTypeProtobuf
	config.AcceptContentTypes = apiruntime.ContentTypeProtobuf + "," + apiruntime.ContentTypeJSON
}

// JSON answers a copy of config whose clients speak JSON: custom resources have no protobuf.
func JSON(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = apiruntime.ContentTypeJSON, apiruntime.ContentTypeJSON
	return config
}

// As answers a copy of config whose requests carry component in their user agent: the server's logs, metrics and audit
// then tell a process's parts from each other.
func As(config *rest.Config, component string) *rest.Config {
	config = rest.CopyConfig(config)
	config.UserAgent = UserAgent(component)
	return config
}

// UserAgent is what component calls itself. The part before the slash becomes the manager of the fields that it writes.
func UserAgent(component string) string {
	component = strings.ReplaceAll(component, "/", "-")
	return fmt.Sprintf("%s/v1.37 (%s/%s) skiff", component, runtime.GOOS, runtime.GOARCH)
}
