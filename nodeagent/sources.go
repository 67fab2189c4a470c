package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/nodeagent/network"
	"github.com/skiff-project/skiff/nodeagent/objects"
	"github.com/skiff-project/skiff/pkg/client"
)

func eventSink(c kubernetes.Interface) record.EventSink {
	return &typedcorev1.EventSinkImpl{Interface: c.CoreV1().Events("")}
}

// watchPods tells of the pods that are assigned to this node.
func (a *Agent) watchPods(ctx context.Context, out chan<- change) {
	mine := fields.OneTermEqualSelector("spec.nodeName", a.cfg.NodeName).String()
	factory := client.Informers(a.client, informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = mine }))
	informer := factory.Core().V1().Pods().Informer()
	send := func(c change) {
		select {
		case out <- c:
		case <-ctx.Done():
		}
	}
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { send(change{pod: o.(*corev1.Pod)}) },
		UpdateFunc: func(_, o any) { send(change{pod: o.(*corev1.Pod)}) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			send(change{pod: o.(*corev1.Pod), gone: true})
		},
	})
	if err != nil {
		a.cfg.Log.Error("pods not watched", "err", err)
		return
	}
	factory.Start(ctx.Done())
	go func() {
		if !cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
			return
		}
		// Pods are admitted by the node's labels and taints: before those are known none may be refused for them.
		select {
		case <-a.nodeSeen:
		case <-ctx.Done():
			return
		}
		send(change{synced: true})
	}()
}

// watchNodes follows the node's own object, and the other nodes for the routes to their pods.
func (a *Agent) watchNodes(ctx context.Context) {
	own := fields.OneTermEqualSelector("metadata.name", a.cfg.NodeName).String()
	factory := client.Informers(a.client, informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = own }))
	_, err := factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { a.keeper.Know(o.(*corev1.Node)); a.nodeChanged(o.(*corev1.Node)) },
		UpdateFunc: func(_, o any) { a.keeper.Know(o.(*corev1.Node)); a.nodeChanged(o.(*corev1.Node)) },
		DeleteFunc: func(any) { a.keeper.Know(nil); a.keeper.Wake() },
	})
	if err != nil {
		a.cfg.Log.Error("own node not watched", "err", err)
	}
	factory.Start(ctx.Done())

	go a.watchOthers(ctx)
}

// watchOthers keeps the routes to the pods of the other nodes. Reading all nodes is more than upstream lets a node do; until
// somebody allows it there are no routes, which is right for a cluster of one node and for networks that others make.
func (a *Agent) watchOthers(ctx context.Context) {
	if !a.waitForPermission(ctx) {
		return
	}
	all := client.Informers(a.client)
	nodes := all.Core().V1().Nodes()
	again := make(chan struct{}, 1)
	poke := func() {
		select {
		case again <- struct{}{}:
		default:
		}
	}
	_, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { poke() }, DeleteFunc: func(any) { poke() },
		UpdateFunc: func(before, after any) {
			if !sameWay(before.(*corev1.Node), after.(*corev1.Node)) {
				poke()
			}
		},
	})
	if err != nil {
		a.cfg.Log.Error("nodes not watched", "err", err)
		return
	}
	all.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), nodes.Informer().HasSynced) {
		return // routes of nodes that are not known yet must not be taken away
	}
	for {
		a.route(nodes.Lister())
		select {
		case <-ctx.Done():
			return
		case <-again:
		}
	}
}

// waitForPermission returns once this node may read all nodes.
func (a *Agent) waitForPermission(ctx context.Context) bool {
	ask := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "watch", Resource: "nodes"}}}
	told := false
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, 30*time.Second) {
		answer, err := a.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, ask, metav1.CreateOptions{})
		if err == nil && answer.Status.Allowed {
			return true
		}
		if err == nil && !told {
			told = true
			a.cfg.Log.Info("this node may not read the others: there are no routes to their pods", "permission", "watch nodes")
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return false
}

func sameWay(x, y *corev1.Node) bool {
	return fmt.Sprint(x.Spec.PodCIDRs, x.Status.Addresses) == fmt.Sprint(y.Spec.PodCIDRs, y.Status.Addresses)
}

func (a *Agent) route(lister corelisters.NodeLister) {
	nodes, err := lister.List(labels.Everything())
	if err != nil {
		return
	}
	var others []network.Node
	for _, n := range nodes {
		if n.Name == a.cfg.NodeName {
			continue
		}
		other := network.Node{Name: n.Name}
		for _, addr := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(addr.Address); err == nil && addr.Type == corev1.NodeInternalIP {
				other.Addresses = append(other.Addresses, ip)
			}
		}
		for _, s := range n.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(s); err == nil {
				other.PodCIDRs = append(other.PodCIDRs, p)
			}
		}
		if len(other.Addresses) > 0 && len(other.PodCIDRs) > 0 {
			others = append(others, other)
		}
	}
	if a.engine.network == nil {
		return // a CRI runtime has a network of its own
	}
	if err := a.engine.network.SetNodes(others); err != nil {
		a.cfg.Log.Warn("routes to other nodes are not complete", "err", err)
	}
}

// services are those of the cluster, for the environment of containers.
type services struct {
	factory informers.SharedInformerFactory
	lister  corelisters.ServiceLister
	synced  cache.InformerSynced
}

func newServices(c kubernetes.Interface) *services {
	f := client.Informers(c)
	s := f.Core().V1().Services()
	return &services{factory: f, lister: s.Lister(), synced: s.Informer().HasSynced}
}

func (s *services) start(ctx context.Context, known func()) {
	s.factory.Start(ctx.Done())
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), s.synced) {
			known()
		}
	}()
}

func (s *services) list() ([]*corev1.Service, bool) {
	if !s.synced() {
		return nil, false
	}
	list, err := s.lister.List(labels.Everything())
	return list, err == nil
}

// sources is where volumes get what they are made of.
type sources struct {
	*objects.Cache
	client  kubernetes.Interface
	ctx     context.Context
	changed func() // called when a trust bundle has

	once    sync.Once
	bundles informers.SharedInformerFactory
}

func newSources(ctx context.Context, c kubernetes.Interface, o *objects.Cache, changed func()) *sources {
	return &sources{Cache: o, client: c, ctx: ctx, changed: changed}
}

// Claim implements volumes.Objects.
func (s *sources) Claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error) {
	claim, err := s.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("failed to fetch PVC from API server: %w", err)
	}
	if claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "" {
		return nil, nil, errors.New("PVC is not bound")
	}
	volume, err := s.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("failed to fetch PV %s from API server: %w", claim.Spec.VolumeName, err)
	}
	if ref := volume.Spec.ClaimRef; ref == nil || ref.UID != claim.UID {
		return nil, nil, fmt.Errorf("PV %s is bound to another claim", volume.Name)
	}
	return claim, volume, nil
}

// Token implements volumes.Objects.
func (s *sources) Token(ctx context.Context, namespace, account string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return s.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, r, metav1.CreateOptions{})
}

// TrustBundles implements volumes.Objects. They are watched from the first pod that wants one.
func (s *sources) TrustBundles(ctx context.Context) ([]*certificatesv1.ClusterTrustBundle, error) {
	s.once.Do(func() {
		s.bundles = client.Informers(s.client)
		informer := s.bundles.Certificates().V1().ClusterTrustBundles().Informer()
		_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{ // the only error is that it has been stopped
			AddFunc: func(any) { s.changed() }, UpdateFunc: func(any, any) { s.changed() }, DeleteFunc: func(any) { s.changed() },
		})
		s.bundles.Start(s.ctx.Done())
	})
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	bundles := s.bundles.Certificates().V1().ClusterTrustBundles()
	if !cache.WaitForCacheSync(ctx.Done(), bundles.Informer().HasSynced) {
		return nil, errors.New("ClusterTrustBundle informer has not yet synced")
	}
	return bundles.Lister().List(labels.Everything())
}
