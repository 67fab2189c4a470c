package client

import "github.com/spf13/pflag"

// AddFlags declares the flags by which upstream's components are told how to reach the API server.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Kubeconfig, "kubeconfig", c.Kubeconfig, "kubeconfig file with the API server's address and the credentials to use")
	flags.StringVar(&c.Master, "master", c.Master, "address of the API server; replaces the one in the kubeconfig")
	flags.Float32Var(&c.QPS, "kube-api-qps", c.QPS, "requests a second at most; 0 means no limit")
	flags.IntVar(&c.Burst, "kube-api-burst", c.Burst, "burst allowed by --kube-api-qps")
}
