package several

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

var ctx = context.Background()

// counter is a ConfigMap whose number only grows.
const counter = "counter"

func number(cm *corev1.ConfigMap) int {
	n, _ := strconv.Atoi(cm.Data["n"])
	return n
}

// writer counts upwards through one server, and checks that what was acknowledged can be read through every other
// server at once.
type writer struct {
	t    *testing.T
	last atomic.Int64
}

func (w *writer) create(c kubernetes.Interface) {
	w.t.Helper()
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: counter}, Data: map[string]string{"n": "0"}}, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// write adds one through a server.
func (w *writer) write(c kubernetes.Interface) error {
	next := w.last.Load() + 1
	bounded, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	body := fmt.Sprintf(`{"data":{"n":"%d"}}`, next)
	_, err := c.CoreV1().ConfigMaps("default").Patch(bounded, counter, "application/merge-patch+json", []byte(body), metav1.PatchOptions{})
	if err == nil {
		w.last.Store(next)
	}
	return err
}

// fresh reads through a server in each way that a client has, and complains of what is older than what was acknowledged
// before.
func (w *writer) fresh(c kubernetes.Interface) error {
	want := int(w.last.Load())
	bounded, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for _, version := range []string{"", "0"} {
		cm, err := c.CoreV1().ConfigMaps("default").Get(bounded, counter, metav1.GetOptions{ResourceVersion: version})
		if err != nil {
			return err
		}
		if number(cm) < want {
			w.t.Errorf("get at %q is stale: %d, %d was acknowledged", version, number(cm), want)
		}
		list, err := c.CoreV1().ConfigMaps("default").List(bounded, metav1.ListOptions{ResourceVersion: version})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list.Items, func(cm corev1.ConfigMap) bool { return cm.Name == counter })
		if i < 0 || number(&list.Items[i]) < want {
			w.t.Errorf("list at %q is stale, %d was acknowledged", version, want)
		}
	}
	return nil
}

// follow watches the counter through a server by client-go's informer. It complains of a number that goes back.
type follower struct {
	last atomic.Int64
	seen sync.Map
}

func follow(t *testing.T, name string, c kubernetes.Interface) *follower {
	t.Helper()
	f := &follower{}
	factory := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace("default"))
	informer := factory.Core().V1().ConfigMaps().Informer()
	see := func(obj any) {
		cm, ok := obj.(*corev1.ConfigMap)
		if !ok || cm.Name != counter {
			return
		}
		n := int64(number(cm))
		if before := f.last.Swap(n); n < before {
			t.Errorf("%s: %d after %d", name, n, before)
		}
		f.seen.Store(n, true)
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, obj any) { see(obj) },
		DeleteFunc: func(any) { t.Errorf("%s: the counter was deleted", name) }}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	factory.Start(stop)
	t.Cleanup(func() { close(stop); factory.Shutdown() })
	if !cache.WaitForCacheSync(stop, informer.HasSynced) {
		t.Fatal("the informer does not start")
	}
	return f
}

func (f *follower) reaches(t *testing.T, n int64) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		if last := f.last.Load(); last != n {
			return fmt.Errorf("the watch is at %d, not %d", last, n)
		}
		return nil
	})
}

// every says that no number was skipped: the watch never broke.
func (f *follower) every(t *testing.T, from, to int64) {
	t.Helper()
	for n := from; n <= to; n++ {
		if _, ok := f.seen.Load(n); !ok {
			t.Errorf("the watch skipped %d", n)
		}
	}
}

func TestServersComeAndGo(t *testing.T) {
	c := start(t, 3)
	a, b, d := c.servers[0], c.servers[1], c.servers[2]
	w := &writer{t: t}
	w.create(a.client())
	atB, atD := follow(t, "b", b.client()), follow(t, "d", d.client())

	t.Run("what one has written the others know at once", func(t *testing.T) {
		clients := []kubernetes.Interface{a.client(), b.client(), d.client()}
		for i := range 60 {
			if err := w.write(clients[i%3]); err != nil {
				t.Fatal(err)
			}
			if err := w.fresh(clients[(i+1)%3]); err != nil {
				t.Fatal(err)
			}
		}
		atB.reaches(t, w.last.Load())
		atD.reaches(t, w.last.Load())
		atB.every(t, 1, w.last.Load())
		atD.every(t, 1, w.last.Load())
	})

	t.Run("one is killed in the middle of writes", func(t *testing.T) {
		from := w.last.Load()
		viaA, viaB, viaD := a.client(), b.client(), d.client()
		killed := make(chan struct{})
		var lost int
		for i := range 300 {
			if i == 50 {
				go func() { a.kill(); close(killed) }() // beside the writes that follow
			}
			via := viaB
			if i%2 == 0 && lost == 0 {
				via = viaA
			}
			if err := w.write(via); err != nil {
				if via != viaA {
					t.Fatal(err)
				}
				// Nobody knows whether that one was written. It was or it was not, and the next number tells.
				lost++
				cm, err := viaB.CoreV1().ConfigMaps("default").Get(ctx, counter, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if n := int64(number(cm)); n != w.last.Load() && n != w.last.Load()+1 {
					t.Fatalf("the counter is at %d after %d", n, w.last.Load())
				} else {
					w.last.Store(n)
				}
			}
			if err := w.fresh(viaD); err != nil {
				t.Fatal(err)
			}
		}
		<-killed
		if lost == 0 {
			t.Error("the server was not killed in time")
		}
		atB.reaches(t, w.last.Load())
		atD.reaches(t, w.last.Load())
		atB.every(t, from, w.last.Load())
		atD.every(t, from, w.last.Load())
	})

	t.Run("default/kubernetes lists who is there", func(t *testing.T) {
		addresses := func() []string {
			e, err := b.client().CoreV1().Endpoints("default").Get(ctx, "kubernetes", metav1.GetOptions{}) //nolint:staticcheck // its consumers are alive
			if err != nil {
				return []string{err.Error()}
			}
			var out []string
			for _, s := range e.Subsets {
				for _, a := range s.Addresses {
					out = append(out, a.IP)
				}
			}
			return out
		}
		is := func(want ...string) func() error {
			return func() error {
				if got := addresses(); !reflect.DeepEqual(got, want) {
					return fmt.Errorf("endpoints are %v, want %v", got, want)
				}
				return nil
			}
		}
		eventually(t, 60*time.Second, is(b.name, d.name)) // the dead one's lease ends
		a.start()
		a.waitReady()
		eventually(t, 10*time.Second, is(a.name, b.name, d.name))
		if err := w.fresh(a.client()); err != nil {
			t.Error(err)
		}
		a.signal(syscall.SIGTERM) // one that stops in order leaves by itself
		eventually(t, 10*time.Second, is(b.name, d.name))
		<-a.done
		a.start()
		a.waitReady()
	})

	t.Run("one is paused and does not know it", func(t *testing.T) {
		atA := follow(t, "a", a.client())
		viaA, viaB := a.client(), b.client()
		for range 3 {
			a.signal(syscall.SIGSTOP)
			for range 50 {
				if err := w.write(viaB); err != nil {
					t.Fatal(err)
				}
			}
			a.signal(syscall.SIGCONT)
			if err := w.fresh(viaA); err != nil {
				t.Fatal(err)
			}
		}
		atA.reaches(t, w.last.Load())
	})

	t.Run("one is cut off from etcd", func(t *testing.T) {
		atA := follow(t, "a", a.client())
		viaB, viaA := b.client(), a.once()
		a.way.cut()
		for range 20 {
			if err := w.write(viaB); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.fresh(viaA); !unavailable(err) {
			t.Errorf("a read through the server that is cut off: %v", err)
		}
		bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		_, err := viaA.CoreV1().ConfigMaps("default").Patch(bounded, counter, "application/merge-patch+json", []byte(`{"data":{"x":"y"}}`), metav1.PatchOptions{})
		if !unavailable(err) {
			t.Errorf("a write through the server that is cut off: %v", err)
		}
		a.way.mend()
		eventually(t, 30*time.Second, func() error { return w.fresh(viaA) })
		if err := w.write(viaB); err != nil {
			t.Fatal(err)
		}
		atA.reaches(t, w.last.Load())
	})
}

// unavailable says that an error is 503 or 504.
func unavailable(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && (status.Status().Code == 503 || status.Status().Code == 504)
}

// account makes a service account.
func account(t *testing.T, c kubernetes.Interface) string {
	t.Helper()
	if _, err := c.CoreV1().ServiceAccounts("kube-system").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "bot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return "bot"
}

func TestWithoutAQuorum(t *testing.T) {
	c := start(t, 2)
	a, b := c.servers[0], c.servers[1]
	w := &writer{t: t}
	w.create(a.client())
	atB := follow(t, "b", b.client())
	// One member of three is not missed.
	c.members[0].stop()
	for i := range 20 {
		eventually(t, 30*time.Second, func() error { return w.write(c.servers[i%2].client()) })
		eventually(t, 30*time.Second, func() error { return w.fresh(c.servers[(i+1)%2].client()) })
	}
	token, err := a.client().CoreV1().ServiceAccounts("kube-system").CreateToken(ctx, account(t, a.client()), &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Two are.
	c.members[1].stop()
	t.Run("nothing is answered", func(t *testing.T) {
		for _, s := range c.servers {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel() // each answer takes as long as a server is patient
				client := s.once()
				eventually(t, 30*time.Second, func() error {
					if err := w.fresh(client); !unavailable(err) {
						return fmt.Errorf("a read without a quorum: %v", err)
					}
					return nil
				})
				if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "lost-"}}, metav1.CreateOptions{}); !unavailable(err) {
					t.Errorf("a write without a quorum: %v", err)
				}
				config := s.config()
				config.BearerToken, config.CertData, config.KeyData = token.Status.Token, nil, nil
				config.WrapTransport = func(rt http.RoundTripper) http.RoundTripper { return noRetry{rt} }
				if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !unavailable(err) {
					t.Errorf("a token without a quorum: %v", err)
				}
				if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err == nil {
					t.Error("a server without a quorum says that it is ready")
				}
			})
		}
	})
	for _, m := range c.members[:2] {
		m.start(t)
	}
	for _, s := range c.servers {
		client := s.client()
		eventually(t, 60*time.Second, func() error { return w.fresh(client) })
	}
	// A write that nobody acknowledged may have happened after all; the counter was not among them.
	if err := w.write(a.client()); err != nil {
		t.Fatal(err)
	}
	if err := w.fresh(b.client()); err != nil {
		t.Fatal(err)
	}
	atB.reaches(t, w.last.Load())
}
