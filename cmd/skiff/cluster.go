package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/skiff-project/skiff/pkg/machine"
)

// Addresses that are the same in every cluster of `skiff up`.
const (
	serviceRange = "10.96.0.0/16"
	podRange     = "10.244.0.0/16"
	dnsIP        = "10.96.0.10"
	domain       = "cluster.local"
	apiPort      = 6443
)

// pkiDir is where machines see the keys and kubeconfigs that their components use.
const pkiDir = "/etc/skiff/pki"

// target names the cluster that a verb of ours acts on.
type target struct {
	name     string
	dataRoot string
}

func (t *target) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&t.name, "name", "skiff", "Name of the cluster")
	flags.StringVar(&t.dataRoot, "data-root", machine.DefaultHost().DataRoot, "Folder that holds a folder for each cluster")
}

// host is where the clusters are, for whoever may touch them.
func (t *target) host() (machine.Host, error) {
	h := machine.DefaultHost()
	root, err := filepath.Abs(t.dataRoot)
	if err != nil {
		return h, err
	}
	h.DataRoot = root
	if os.Geteuid() != 0 {
		return h, errors.New("clusters of machines need root: run this as root (sudo)")
	}
	return h, nil
}

func (t *target) open() (*machine.Cluster, error) {
	h, err := t.host()
	if err != nil {
		return nil, err
	}
	c, err := h.Open(t.name)
	if errors.Is(err, machine.ErrNotFound) {
		return nil, fmt.Errorf("no cluster %q runs here (skiff up --name %s starts one)", t.name, t.name)
	}
	return c, err
}

// record is what `up` leaves for the other verbs, in the cluster's data folder.
type record struct {
	// APIPort is the host's loopback port.
	APIPort int
	// Kubeconfig is the file that got a context, and Previous the context that was current in it before.
	Kubeconfig string
	Previous   string `json:",omitempty"`
}

func recordFile(c *machine.Cluster) string { return filepath.Join(c.Data(), "skiff.json") }
func adminFile(c *machine.Cluster) string  { return filepath.Join(c.Data(), "admin.conf") }

func readRecord(c *machine.Cluster) (record, error) {
	var r record
	body, err := os.ReadFile(recordFile(c))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(body, &r)
}

func (r record) write(c *machine.Cluster) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(recordFile(c), body, 0o644)
}

// writeAdmin makes the administrator's kubeconfig for use on the host.
func writeAdmin(c *machine.Cluster, port int) (*clientcmdapi.Config, error) {
	config, err := clientcmd.LoadFromFile(filepath.Join(c.Data(), "pki", "admin.conf"))
	if err != nil {
		return nil, err
	}
	name := "skiff-" + c.Name()
	own := clientcmdapi.NewConfig()
	for _, cluster := range config.Clusters {
		cluster.Server = fmt.Sprintf("https://127.0.0.1:%d", port)
		own.Clusters[name] = cluster
	}
	for _, user := range config.AuthInfos {
		own.AuthInfos[name] = user
	}
	own.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	own.CurrentContext = name
	return own, clientcmd.WriteToFile(*own, adminFile(c))
}

// api is the administrator's way to the cluster.
func api(c *machine.Cluster) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", adminFile(c))
	if err != nil {
		return nil, fmt.Errorf("cluster %s has no kubeconfig yet: %w", c.Name(), err)
	}
	config.QPS = -1
	return config, nil
}
