package nodeagent

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/nodeagent/staticpods"
)

// watchStatic tells of the pods of the manifest folder.
func (a *Agent) watchStatic(ctx context.Context, out chan<- change) {
	if a.cfg.ManifestDir == "" {
		return
	}
	send := func(c change) {
		select {
		case out <- c:
		case <-ctx.Done():
		}
	}
	known := map[types.UID]*corev1.Pod{}
	go staticpods.Watch(ctx, a.cfg.ManifestDir, a.cfg.NodeName, a.cfg.Log, func(pods []*corev1.Pod) {
		now := map[types.UID]*corev1.Pod{}
		for _, p := range pods {
			now[p.UID] = p
		}
		for uid, p := range known {
			if now[uid] == nil {
				send(change{pod: p, gone: true, static: true})
				delete(known, uid)
			}
		}
		for uid, p := range now {
			if known[uid] == nil {
				known[uid] = p
				send(change{pod: p, static: true})
			}
		}
	})
}
