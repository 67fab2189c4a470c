package podfiles

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Limits of a resolv.conf, as Kubernetes keeps to them.
const (
	maxServers     = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// Resolver is what the agent knows about names.
type Resolver struct {
	ClusterDNS    []string
	ClusterDomain string
	NodeFile      string // the node's own resolv.conf; "" when pods are to see none of it
}

// DNS works out a pod's resolver. The problems are told to the user as events (reason, message); the pod starts regardless.
func (r Resolver) DNS(pod *corev1.Pod) (dns runtime.DNS, problems [][2]string, err error) {
	node, err := r.node()
	if err != nil {
		return dns, nil, err
	}
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	switch policy {
	case corev1.DNSNone:
	case corev1.DNSDefault:
		dns = node
	default:
		if len(r.ClusterDNS) == 0 {
			problems = append(problems, [2]string{"MissingClusterDNS", fmt.Sprintf("pod: %q. kubelet does not have ClusterDNS IP configured and cannot create Pod using %q policy. Falling back to %q policy.",
				fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID), corev1.DNSClusterFirst, corev1.DNSDefault)})
			dns = node
			break
		}
		dns.Servers = append(dns.Servers, r.ClusterDNS...)
		dns.Searches = append([]string{pod.Namespace + ".svc." + r.ClusterDomain, "svc." + r.ClusterDomain, r.ClusterDomain}, node.Searches...)
		dns.Options = []string{"ndots:5"}
	}
	if pod.Spec.DNSConfig != nil {
		dns = merge(dns, pod.Spec.DNSConfig)
	}
	dns.Searches = unique(dns.Searches)
	dns, cut := fit(dns)
	return dns, append(problems, cut...), nil
}

func (r Resolver) node() (runtime.DNS, error) {
	if r.NodeFile == "" {
		return runtime.DNS{Servers: []string{"127.0.0.1"}, Searches: []string{"."}}, nil
	}
	content, err := os.ReadFile(r.NodeFile)
	if os.IsNotExist(err) {
		return runtime.DNS{}, nil
	}
	if err != nil {
		return runtime.DNS{}, err
	}
	return parse(bytes.NewReader(content)), nil
}

func parse(r io.Reader) runtime.DNS {
	var dns runtime.DNS
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			dns.Servers = append(dns.Servers, f[1])
		case "search":
			dns.Searches = nil
			for _, s := range f[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				dns.Searches = append(dns.Searches, s)
			}
		case "options":
			dns.Options = append(dns.Options, f[1:]...)
		}
	}
	return dns
}

// merge adds the pod's own wishes; an option of the same name replaces the one that is there.
func merge(dns runtime.DNS, own *corev1.PodDNSConfig) runtime.DNS {
	dns.Servers = unique(append(append([]string{}, dns.Servers...), own.Nameservers...))
	dns.Searches = append(append([]string{}, dns.Searches...), own.Searches...)
	var options []string
	replaced := map[string]bool{}
	for _, o := range own.Options {
		replaced[o.Name] = true
	}
	for _, o := range dns.Options {
		if name, _, _ := strings.Cut(o, ":"); !replaced[name] {
			options = append(options, o)
		}
	}
	for _, o := range own.Options {
		if o.Value != nil && *o.Value != "" {
			options = append(options, o.Name+":"+*o.Value)
		} else {
			options = append(options, o.Name)
		}
	}
	dns.Options = options
	return dns
}

func unique(list []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func fit(dns runtime.DNS) (runtime.DNS, [][2]string) {
	var problems [][2]string
	if len(dns.Servers) > maxServers {
		dns.Servers = dns.Servers[:maxServers]
		problems = append(problems, [2]string{"DNSConfigForming",
			"Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: " + strings.Join(dns.Servers, " ")})
	}
	before := len(dns.Searches)
	dns.Searches = dns.Searches[:min(before, maxSearches)]
	for len(strings.Join(dns.Searches, " ")) > maxSearchChars {
		dns.Searches = dns.Searches[:len(dns.Searches)-1]
	}
	if len(dns.Searches) < before {
		problems = append(problems, [2]string{"DNSConfigForming",
			"Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + strings.Join(dns.Searches, " ")})
	}
	return dns, problems
}

// ResolvConf is the file's content.
func ResolvConf(dns runtime.DNS) []byte {
	var b bytes.Buffer
	if len(dns.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Searches, " "))
	}
	for _, s := range dns.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return b.Bytes()
}
