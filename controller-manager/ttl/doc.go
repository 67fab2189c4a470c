// Package ttl tells the nodes how long they may keep Secrets and ConfigMaps before they ask again, by the size of the
// cluster: a thousand nodes must not ask every minute.
//
// It owns: the annotation node.alpha.kubernetes.io/ttl of nodes. It is woken by: nodes. It never touches: anything else.
package ttl
