package clients

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingapply "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func client(t *testing.T, contentType string) kubernetes.Interface {
	t.Helper()
	config := rest.CopyConfig(admin)
	config.ContentType = contentType
	config.AcceptContentTypes = contentType + ",application/json"
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func namespace(t *testing.T, name string) {
	t.Helper()
	if _, err := client(t, "application/json").CoreV1().Namespaces().Create(within(t), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// counts are what an informer's handlers were told.
type counts struct{ added, updated, deleted atomic.Int64 }

func (c *counts) handler() cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{AddFunc: func(any) { c.added.Add(1) }, UpdateFunc: func(any, any) { c.updated.Add(1) }, DeleteFunc: func(any) { c.deleted.Add(1) }}
}

func (c *counts) are(added, updated, deleted int64) error {
	if a, u, d := c.added.Load(), c.updated.Load(), c.deleted.Load(); a != added || u != updated || d != deleted {
		return fmt.Errorf("added %d, updated %d, deleted %d; want %d, %d, %d", a, u, d, added, updated, deleted)
	}
	return nil
}

func TestSharedInformers(t *testing.T) {
	for _, contentType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(contentType, func(t *testing.T) {
			ctx, c := within(t), client(t, contentType)
			ns := map[string]string{runtime.ContentTypeJSON: "informers-json", runtime.ContentTypeProtobuf: "informers-proto"}[contentType]
			namespace(t, ns)
			factory := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace(ns),
				informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "watched=yes" }))
			informer := factory.Core().V1().ConfigMaps()
			var seen counts
			if _, err := informer.Informer().AddEventHandler(seen.handler()); err != nil {
				t.Fatal(err)
			}
			maps := c.CoreV1().ConfigMaps(ns)
			make := func(name, watched string) {
				if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"watched": watched}}}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			make("before", "yes")
			make("never", "no")
			factory.Start(ctx.Done())
			for kind, ok := range factory.WaitForCacheSync(ctx.Done()) {
				if !ok {
					t.Fatalf("%v does not sync", kind)
				}
			}
			eventually(t, func() error { return seen.are(1, 0, 0) })
			make("after", "yes")
			update := func(name, watched string) {
				if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
					cm, err := maps.Get(ctx, name, metav1.GetOptions{})
					if err != nil {
						return err
					}
					cm.Labels["watched"] = watched
					cm.Data = map[string]string{"at": time.Now().String()}
					_, err = maps.Update(ctx, cm, metav1.UpdateOptions{})
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
			update("before", "yes")
			eventually(t, func() error { return seen.are(2, 1, 0) })
			update("before", "no") // which looks like a deletion from here
			update("never", "yes") // and this like a new one
			eventually(t, func() error { return seen.are(3, 1, 1) })
			if err := maps.Delete(ctx, "after", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error { return seen.are(3, 1, 2) })
			list, err := informer.Lister().ConfigMaps(ns).List(labels.Everything())
			if err != nil || len(list) != 1 || list[0].Name != "never" {
				t.Errorf("the cache holds %v, %v", list, err)
			}
		})
	}
}

func TestDynamic(t *testing.T) {
	ctx := within(t)
	namespace(t, "dynamic")
	c, err := dynamic.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(c, 0, "dynamic", nil)
	var seen counts
	if _, err := factory.ForResource(configMaps).Informer().AddEventHandler(seen.handler()); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	object := func(value string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": "x"}, "data": map[string]any{"k": value}}}
	}
	maps := c.Resource(configMaps).Namespace("dynamic")
	if _, err := maps.Create(ctx, object("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Patch(ctx, "x", types.MergePatchType, []byte(`{"data":{"k":"b"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Apply(ctx, "x", object("c"), metav1.ApplyOptions{FieldManager: "test"}); !apierrors.IsConflict(err) {
		t.Errorf("an apply over somebody's value: %v", err)
	}
	got, err := maps.Apply(ctx, "x", object("c"), metav1.ApplyOptions{FieldManager: "test", Force: true})
	if value, _, _ := unstructured.NestedString(got.Object, "data", "k"); err != nil || value != "c" {
		t.Errorf("after the apply: %v, %v", got, err)
	}
	list, err := maps.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=x"})
	if err != nil || len(list.Items) != 1 || list.GetResourceVersion() == "" {
		t.Errorf("list: %v, %v", list, err)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return seen.are(1, 2, 1) })
}

func TestMetadata(t *testing.T) {
	ctx, c := within(t), client(t, runtime.ContentTypeJSON)
	namespace(t, "metadata")
	m, err := metadata.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	factory := metadatainformer.NewFilteredSharedInformerFactory(m, 0, "metadata", nil)
	var seen counts
	informer := factory.ForResource(configMaps)
	if _, err := informer.Informer().AddEventHandler(seen.handler()); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if _, err := c.CoreV1().ConfigMaps("metadata").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Annotations: map[string]string{"a": "b"}}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	maps := m.Resource(configMaps).Namespace("metadata")
	got, err := maps.Get(ctx, "x", metav1.GetOptions{})
	if err != nil || got.Annotations["a"] != "b" {
		t.Errorf("get: %v, %v", got, err)
	}
	if got, err = maps.Patch(ctx, "x", types.MergePatchType, []byte(`{"metadata":{"labels":{"l":"m"}}}`), metav1.PatchOptions{}); err != nil || got.Labels["l"] != "m" {
		t.Errorf("patch: %v, %v", got, err)
	}
	eventually(t, func() error { return seen.are(1, 1, 0) })
	if err := maps.Delete(ctx, "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return seen.are(1, 1, 1) })
}

func TestTypedApply(t *testing.T) {
	ctx, c := within(t), client(t, runtime.ContentTypeProtobuf)
	namespace(t, "apply")
	deployment := func(replicas int32, image string) *appsapply.DeploymentApplyConfiguration {
		return appsapply.Deployment("web", "apply").WithLabels(map[string]string{"app": "web"}).WithSpec(appsapply.DeploymentSpec().WithReplicas(replicas).
			WithSelector(metaapply.LabelSelector().WithMatchLabels(map[string]string{"app": "web"})).
			WithTemplate(coreapply.PodTemplateSpec().WithLabels(map[string]string{"app": "web"}).
				WithSpec(coreapply.PodSpec().WithContainers(coreapply.Container().WithName("c").WithImage(image)))))
	}
	deployments := c.AppsV1().Deployments("apply")
	got, err := deployments.Apply(ctx, deployment(3, "one"), metav1.ApplyOptions{FieldManager: "first"})
	if err != nil || *got.Spec.Replicas != 3 || got.Generation != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := deployments.Apply(ctx, deployment(5, "one"), metav1.ApplyOptions{FieldManager: "second"}); !apierrors.IsConflict(err) {
		t.Errorf("a second manager: %v", err)
	}
	if got, err = deployments.Apply(ctx, deployment(5, "one"), metav1.ApplyOptions{FieldManager: "second", Force: true}); err != nil || *got.Spec.Replicas != 5 || got.Generation != 2 {
		t.Errorf("forced: %v, %v", got, err)
	}
	mine, err := appsapply.ExtractDeployment(got, "first")
	if err != nil || mine.Spec.Replicas != nil || len(mine.Spec.Template.Spec.Containers) != 1 || *mine.Spec.Template.Spec.Containers[0].Image != "one" {
		t.Errorf("what is left to the first: %+v, %v", mine, err)
	}
	// What an applier leaves out goes, if nobody else has it.
	mine.Labels = nil
	if got, err = deployments.Apply(ctx, mine, metav1.ApplyOptions{FieldManager: "first"}); err != nil || got.Labels["app"] != "web" {
		t.Errorf("the other has the label, too: %v, %v", got, err)
	}
	scale, err := deployments.ApplyScale(ctx, "web", autoscalingapply.Scale().WithName("web").WithNamespace("apply").WithSpec(autoscalingapply.ScaleSpec().WithReplicas(7)), metav1.ApplyOptions{FieldManager: "scaler", Force: true})
	if err != nil || scale.Spec.Replicas != 7 {
		t.Errorf("scale: %v, %v", scale, err)
	}
}

func TestMapperAndPager(t *testing.T) {
	ctx, c := within(t), client(t, runtime.ContentTypeJSON)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Discovery()))
	for _, gk := range []schema.GroupKind{{Kind: "Pod"}, {Group: "apps", Kind: "Deployment"}, {Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}} {
		if m, err := mapper.RESTMapping(gk); err != nil || m.Resource.Resource == "" {
			t.Errorf("%v: %v, %v", gk, m, err)
		}
	}
	if short, err := restmapper.NewShortcutExpander(mapper, c.Discovery(), nil).ResourceFor(schema.GroupVersionResource{Resource: "deploy"}); err != nil || short.Resource != "deployments" {
		t.Errorf("deploy is %v, %v", short, err)
	}
	namespace(t, "pager")
	for i := range 25 {
		if _, err := c.CoreV1().ConfigMaps("pager").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m%02d", i)}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	p := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return c.CoreV1().ConfigMaps("pager").List(ctx, o)
	})
	p.PageSize = 10
	n := 0
	if err := p.EachListItem(ctx, metav1.ListOptions{}, func(runtime.Object) error { n++; return nil }); err != nil || n != 25 {
		t.Errorf("%d items, %v", n, err)
	}
}

func TestLeaderElection(t *testing.T) {
	c := client(t, runtime.ContentTypeProtobuf)
	namespace(t, "election")
	var mu sync.Mutex
	var leaders []string
	candidate := func(ctx context.Context, name string) {
		lock := &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Name: "l", Namespace: "election"}, Client: c.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: name}}
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{Lock: lock, ReleaseOnCancel: true, LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 200 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { mu.Lock(); leaders = append(leaders, name); mu.Unlock() }, OnStoppedLeading: func() {}}})
	}
	is := func(want ...string) func() error {
		return func() error {
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(leaders) != fmt.Sprint(want) {
				return fmt.Errorf("leaders were %v, want %v", leaders, want)
			}
			return nil
		}
	}
	first, stopFirst := context.WithCancel(within(t))
	go candidate(first, "one")
	eventually(t, is("one"))
	second, stopSecond := context.WithCancel(within(t))
	defer stopSecond()
	go candidate(second, "two")
	stopFirst()
	eventually(t, is("one", "two"))
}

func TestWatchListAndErrors(t *testing.T) {
	ctx, c := within(t), client(t, runtime.ContentTypeProtobuf)
	namespace(t, "watches")
	yes := true
	w, err := c.CoreV1().ConfigMaps("watches").Watch(ctx, metav1.ListOptions{SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	select {
	case e := <-w.ResultChan():
		if cm, ok := e.Object.(*corev1.ConfigMap); !ok || e.Type != "BOOKMARK" || cm.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
			t.Errorf("the first event of an empty list is %v", e)
		}
	case <-ctx.Done():
		t.Fatal("no event")
	}
	_, err = c.CoreV1().ConfigMaps("watches").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "Not A Name"}}, metav1.CreateOptions{})
	var status *apierrors.StatusError
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) || status.ErrStatus.Details == nil || len(status.ErrStatus.Details.Causes) != 1 || status.ErrStatus.Details.Causes[0].Field != "metadata.name" {
		t.Errorf("a bad name: %v", err)
	}
}
