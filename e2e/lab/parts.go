package lab

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/skiff-project/skiff/pkg/machine"
	"github.com/skiff-project/skiff/pkg/machine/control"
)

// Side is whose component it is.
type Side string

// The sides. None leaves a component out.
const (
	None     Side = ""
	Skiff    Side = "skiff"
	Upstream Side = "upstream"
)

// Sides are both, in the order in which tables show them.
var Sides = []Side{Upstream, Skiff}

// Other is the other side.
func (s Side) Other() Side {
	if s == Skiff {
		return Upstream
	}
	return Skiff
}

// Parts says which side each component of a cluster comes from.
type Parts struct{ API, Controllers, Scheduler, Agent, Proxy Side }

// All is a whole cluster of one side.
func All(s Side) Parts { return Parts{API: s, Controllers: s, Scheduler: s, Agent: s, Proxy: s} }

type part struct {
	name string
	side Side
}

// Names of parts, for StartPart and StopPart.
const (
	Etcd        = "etcd"
	API         = "apiserver"
	Controllers = "controller-manager"
	Scheduler   = "scheduler"
	Runtime     = "containerd"
	Agent       = "agent"
	Proxy       = "proxy"
)

// list is what to start, in order. Nothing waits for anything: each component tries until what it needs is there.
func (p Parts) list() []part {
	var all []part
	if p.API != None {
		all = append(all, part{Etcd, Upstream})
	}
	if p.Agent == Upstream {
		all = append(all, part{Runtime, Upstream})
	}
	for _, c := range []part{{API, p.API}, {Controllers, p.Controllers}, {Scheduler, p.Scheduler}, {Agent, p.Agent}, {Proxy, p.Proxy}} {
		if c.side != None {
			all = append(all, c)
		}
	}
	return all
}

// StartPart starts a component, with more flags behind the usual ones.
func (l *Lab) StartPart(name string, side Side, flags ...string) error {
	program, args := l.command(name, side)
	if program == "" {
		return fmt.Errorf("there is no %s of %s", name, side)
	}
	spec := control.Component{Name: name, Argv: append(append([]string{program}, args...), flags...)}
	if name == Runtime {
		spec.Env = []string{"PATH=" + peersDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	if err := l.Machine.StartComponent(spec); err != nil {
		return fmt.Errorf("%s of %s: %w", name, side, err)
	}
	return nil
}

// StopPart ends a component and keeps it so, until StartPart.
func (l *Lab) StopPart(name string) error { return l.Machine.StopComponent(name, 10*time.Second) }

func (l *Lab) command(name string, side Side) (string, []string) {
	if side == Skiff {
		return l.skiff(name)
	}
	return l.upstream(name)
}

const (
	podRange     = "10.244.0.0/16"
	serviceRange = "10.96.0.0/16"
	dnsIP        = "10.96.0.10"
	domain       = "cluster.local"
	issuer       = "https://kubernetes.default.svc." + domain
)

func kubeconfig(who string) string { return "--kubeconfig=" + pkiDir + "/" + who + ".conf" }

func key(name string) string { return filepath.Join(pkiDir, name) }

// apiFlags are understood by both API servers.
func (l *Lab) apiFlags() []string {
	return []string{
		"--etcd-servers=http://127.0.0.1:2379", "--secure-port=6443", "--advertise-address=" + l.Machine.Address().String(),
		"--tls-cert-file=" + key("apiserver.crt"), "--tls-private-key-file=" + key("apiserver.key"), "--client-ca-file=" + key("ca.crt"),
		"--service-account-key-file=" + key("sa.pub"), "--service-account-signing-key-file=" + key("sa.key"),
		"--service-account-issuer=" + issuer, "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + serviceRange, "--allow-privileged=true", "--enable-bootstrap-token-auth=true",
		"--kubelet-client-certificate=" + key("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + key("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + key("ca.crt"),
		"--requestheader-client-ca-file=" + key("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + key("front-proxy-client.crt"), "--proxy-client-key-file=" + key("front-proxy-client.key"),
	}
}

// managerFlags are understood by both controller managers.
func managerFlags() []string {
	return []string{
		kubeconfig("controller-manager"), "--leader-elect", "--cluster-cidr=" + podRange, "--allocate-node-cidrs",
		"--service-cluster-ip-range=" + serviceRange, "--use-service-account-credentials",
		"--cluster-signing-cert-file=" + key("ca.crt"), "--cluster-signing-key-file=" + key("ca.key"),
		"--root-ca-file=" + key("ca.crt"), "--service-account-private-key-file=" + key("sa.key"),
	}
}

func (l *Lab) skiff(name string) (string, []string) {
	bin := func(program string) string { return filepath.Join(binDir, program) }
	switch name {
	case API:
		return bin("apiserver"), l.apiFlags()
	case Controllers:
		return bin("controller-manager"), managerFlags()
	case Scheduler:
		return bin("scheduler"), []string{kubeconfig("scheduler"), "--leader-elect"}
	case Agent:
		return bin("nodeagent"), []string{
			kubeconfig("node-" + Node), "--hostname-override=" + Node, "--node-ip=" + l.Machine.Address().String(),
			"--root-dir=" + machine.DataDir + "/nodeagent", "--client-ca-file=" + key("ca.crt"),
			"--tls-cert-file=" + key("node-"+Node+".crt"), "--tls-private-key-file=" + key("node-"+Node+".key"),
			"--cluster-dns=" + dnsIP, "--cluster-domain=" + domain, "--image-bundle-dir=" + binDir + "/images",
		}
	case Proxy:
		return bin("proxy"), []string{
			kubeconfig("proxy"), "--hostname-override=" + Node, "--cluster-cidr=" + podRange, "--service-cluster-ip-range=" + serviceRange,
		}
	}
	return "", nil
}

func (l *Lab) upstream(name string) (string, []string) {
	peer := func(program string) string { return filepath.Join(peersDir, program) }
	unlimited := []string{"--kube-api-qps=100000", "--kube-api-burst=100000"}
	delegated := func(who string) []string {
		return []string{"--authentication-kubeconfig=" + key(who+".conf"), "--authorization-kubeconfig=" + key(who+".conf")}
	}
	switch name {
	case Etcd:
		return peer("etcd"), []string{
			"--data-dir=" + machine.DataDir + "/etcd", "--listen-client-urls=http://127.0.0.1:2379", "--unsafe-no-fsync",
			"--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380", "--log-level=warn",
		}
	case API:
		return peer("kube-apiserver"), append(l.apiFlags(), "--kubelet-preferred-address-types=InternalIP")
	case Controllers:
		return peer("kube-controller-manager"), append(append(managerFlags(), unlimited...), delegated("controller-manager")...)
	case Scheduler:
		return peer("kube-scheduler"), append(append([]string{kubeconfig("scheduler"), "--leader-elect"}, unlimited...), delegated("scheduler")...)
	case Runtime:
		return peer("containerd"), []string{"-c", filesDir + "/containerd.toml"}
	case Agent:
		return peer("kubelet"), []string{
			"--config=" + filesDir + "/kubelet.yaml", kubeconfig("node-" + Node), "--hostname-override=" + Node,
			"--node-ip=" + l.Machine.Address().String(), "--root-dir=" + machine.DataDir + "/kubelet", "--cert-dir=" + machine.DataDir + "/kubelet-pki",
		}
	case Proxy:
		return peer("kube-proxy"), []string{"--config=" + filesDir + "/proxy.yaml"}
	}
	return "", nil
}
