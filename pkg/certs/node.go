package certs

// EnsureNodeServing makes node-NAME.crt and .key, by which the node's agent serves logs, exec and the like to the API server,
// which believes only what this CA has signed. names are how the node is reached: its name and addresses.
func (c *Cluster) EnsureNodeServing(name string, names ...string) error {
	return c.ensurePair("node-"+name, c.CA, Leaf{
		CommonName: "system:node:" + name, Organization: []string{"system:nodes"}, Names: names, Server: true,
	})
}
