package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skiff-project/skiff/pkg/machine"
	"github.com/skiff-project/skiff/pkg/machine/control"
)

// Where machines see the folders of the installation.
const (
	binDir    = "/opt/skiff/bin"
	imagesDir = "/opt/skiff/images"
)

// component is one program of a cluster: how it is started, and where it says how it is.
type component struct {
	name string
	// health is the URL of its own word on its health, from within its machine.
	health string
	args   func(n node) []string
	held   []string
}

// node is what the arguments of components depend on.
type node struct {
	name, address string
	controlPlane  string // address of the API server's machine
}

func (n node) kubeconfig(who string) string { return "--kubeconfig=" + pkiDir + "/" + who + ".conf" }

// controlPlane runs on the first machine only.
var controlPlane = []component{
	{
		name: "apiserver", health: fmt.Sprintf("https://127.0.0.1:%d/readyz", apiPort), held: []string{"api"},
		args: func(n node) []string {
			return []string{
				"--data-dir=" + machine.DataDir + "/etcd", "--cert-dir=" + pkiDir, fmt.Sprintf("--secure-port=%d", apiPort),
				"--advertise-address=" + n.address, "--listen-fds=3", "--authorization-mode=Node,RBAC",
				"--service-cluster-ip-range=" + serviceRange, "--service-account-issuer=https://kubernetes.default.svc." + domain,
				"--enable-bootstrap-token-auth",
			}
		},
	},
	{
		name: "controller-manager", health: "https://127.0.0.1:10257/healthz",
		args: func(n node) []string {
			return []string{
				n.kubeconfig("controller-manager"), "--leader-elect", "--cluster-cidr=" + podRange, "--allocate-node-cidrs",
				"--service-cluster-ip-range=" + serviceRange,
				"--cluster-signing-cert-file=" + pkiDir + "/ca.crt", "--cluster-signing-key-file=" + pkiDir + "/ca.key",
				"--root-ca-file=" + pkiDir + "/ca.crt", "--service-account-private-key-file=" + pkiDir + "/sa.key",
			}
		},
	},
	{
		name: "scheduler", health: "https://127.0.0.1:10259/healthz",
		args: func(n node) []string { return []string{n.kubeconfig("scheduler"), "--leader-elect"} },
	},
}

// everyNode runs on all machines.
var everyNode = []component{
	{
		name: "nodeagent", health: "http://127.0.0.1:10248/healthz",
		args: func(n node) []string {
			return []string{
				n.kubeconfig("node-" + n.name), "--hostname-override=" + n.name, "--node-ip=" + n.address,
				"--root-dir=" + machine.DataDir + "/nodeagent", "--client-ca-file=" + pkiDir + "/ca.crt",
				"--tls-cert-file=" + pkiDir + "/node-" + n.name + ".crt", "--tls-private-key-file=" + pkiDir + "/node-" + n.name + ".key",
				"--cluster-dns=" + dnsIP, "--cluster-domain=" + domain, "--image-bundle-dir=" + imagesDir,
			}
		},
	},
	{
		name: "proxy", health: "http://127.0.0.1:10256/healthz",
		args: func(n node) []string {
			return []string{
				n.kubeconfig("proxy"), "--hostname-override=" + n.name, "--cluster-cidr=" + podRange,
				"--service-cluster-ip-range=" + serviceRange,
			}
		},
	},
}

func (c component) spec(n node, extra []string) control.Component {
	return control.Component{
		Name: c.name,
		Argv: append(append([]string{filepath.Join(binDir, c.name)}, c.args(n)...), extra...),
		Held: c.held,
	}
}

// installation is the folder of the programs and that of the images, which lie side by side.
type installation struct {
	bin, images string
}

func findInstallation() (installation, error) {
	self, err := os.Executable()
	if err != nil {
		return installation{}, err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return installation{}, err
	}
	i := installation{bin: filepath.Dir(self)}
	i.images = filepath.Join(i.bin, "images")
	var missing []string
	for _, c := range append(append([]component{}, controlPlane...), everyNode...) {
		if _, err := os.Stat(filepath.Join(i.bin, c.name)); err != nil {
			missing = append(missing, c.name)
		}
	}
	for _, name := range []string{"machine-init", "pause"} {
		if _, err := os.Stat(filepath.Join(i.bin, name)); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return i, fmt.Errorf("missing beside %s: %s (make build)", self, strings.Join(missing, ", "))
	}
	if err := os.MkdirAll(i.images, 0o755); err != nil {
		return i, err
	}
	return i, nil
}
