package certs

import (
	"encoding/base64"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// Kubeconfig is a client's way to one cluster, with everything embedded. It holds a certificate and key, or a token.
type Kubeconfig struct {
	Cluster string
	Server  string
	CA      []byte
	User    string
	Pair    Pair
	Token   string
}

// The types below are the part of the kubeconfig format that is written here; client-go's own would bring its JSON
// machinery into every program that only makes certificates.
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	CurrentContext string         `json:"current-context"`
	Clusters       []namedCluster `json:"clusters"`
	Contexts       []namedContext `json:"contexts"`
	Users          []namedUser    `json:"users"`
}

type namedCluster struct {
	Name    string  `json:"name"`
	Cluster cluster `json:"cluster"`
}

type cluster struct {
	CA     string `json:"certificate-authority-data"`
	Server string `json:"server"`
}

type namedContext struct {
	Name    string            `json:"name"`
	Context map[string]string `json:"context"`
}

type namedUser struct {
	Name string `json:"name"`
	User user   `json:"user"`
}

type user struct {
	Cert  string `json:"client-certificate-data,omitempty"`
	Key   string `json:"client-key-data,omitempty"`
	Token string `json:"token,omitempty"`
}

// Marshal is the file's text.
func (k Kubeconfig) Marshal() ([]byte, error) {
	context := k.User + "@" + k.Cluster
	encode := base64.StdEncoding.EncodeToString
	return yaml.Marshal(kubeconfig{
		APIVersion: "v1", Kind: "Config", CurrentContext: context,
		Clusters: []namedCluster{{k.Cluster, cluster{CA: encode(k.CA), Server: k.Server}}},
		Contexts: []namedContext{{context, map[string]string{"cluster": k.Cluster, "user": k.User}}},
		Users:    []namedUser{{k.User, user{Cert: encode(k.Pair.Cert), Key: encode(k.Pair.Key), Token: k.Token}}},
	})
}

// Write writes the file, readable by its owner alone.
func (k Kubeconfig) Write(file string) error {
	text, err := k.Marshal()
	if err != nil {
		return fmt.Errorf("encode kubeconfig %s: %w", file, err)
	}
	return WriteFile(file, text, 0o600)
}

// readKubeconfig reads what Write wrote. It returns nil, without an error, for a file that is of another make: that one
// is somebody's own, or broken, and is not judged here.
func readKubeconfig(file string) (*Kubeconfig, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var in kubeconfig
	if yaml.Unmarshal(text, &in) != nil || len(in.Clusters) != 1 || len(in.Users) != 1 {
		return nil, nil
	}
	out := &Kubeconfig{Cluster: in.Clusters[0].Name, Server: in.Clusters[0].Cluster.Server, User: in.Users[0].Name}
	for _, f := range []struct {
		from string
		to   *[]byte
	}{{in.Clusters[0].Cluster.CA, &out.CA}, {in.Users[0].User.Cert, &out.Pair.Cert}, {in.Users[0].User.Key, &out.Pair.Key}} {
		if *f.to, err = base64.StdEncoding.DecodeString(f.from); err != nil {
			return nil, nil
		}
	}
	return out, nil
}
