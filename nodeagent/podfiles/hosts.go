package podfiles

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Hosts is the content of /etc/hosts. On the host network it is the node's own file, else one made for the pod; aliases follow.
func Hosts(pod *corev1.Pod, ips []string, hostname, domain, nodeFile string) ([]byte, error) {
	var b bytes.Buffer
	if pod.Spec.HostNetwork {
		content, err := os.ReadFile(nodeFile)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.Write(content)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n" +
			"127.0.0.1\tlocalhost\n" +
			"::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\n" +
			"fe00::0\tip6-mcastprefix\n" +
			"fe00::1\tip6-allnodes\n" +
			"fe00::2\tip6-allrouters\n")
		for _, ip := range ips {
			if domain != "" {
				fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, hostname, domain, hostname)
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, hostname)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
	}
	for _, alias := range pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return b.Bytes(), nil
}

// Hostname is the pod's host name and the domain that, with it, makes its full name ("" when it has none).
func Hostname(pod *corev1.Pod, clusterDomain string) (hostname, domain string) {
	if pod.Spec.HostnameOverride != nil {
		return cut(*pod.Spec.HostnameOverride), ""
	}
	hostname = pod.Name
	if pod.Spec.Hostname != "" {
		hostname = pod.Spec.Hostname
	}
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	return cut(hostname), domain
}

// maxName is what the kernel takes, less the final zero.
const maxName = 63

func cut(name string) string {
	if len(name) <= maxName {
		return name
	}
	return strings.TrimRight(name[:maxName], "-.")
}

// KernelHostname is what the sandbox's host name is set to: the full name where the pod wants that.
func KernelHostname(pod *corev1.Pod, clusterDomain string) (string, error) {
	hostname, domain := Hostname(pod, clusterDomain)
	if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && domain != "" {
		full := hostname + "." + domain
		if len(full) > maxName+1 {
			return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (64 characters is the max, %d characters requested)", full, len(full))
		}
		return full, nil
	}
	return hostname, nil
}
