package encryption_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	kmsv2 "k8s.io/kms/apis/v2"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/apiserver/storage"
)

func secretKey(b byte) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32)))
}

func aescbc(names ...string) string {
	var keys []string
	for _, n := range names {
		keys = append(keys, fmt.Sprintf("{name: %s, secret: %s}", n, secretKey(n[0])))
	}
	return "{aescbc: {keys: [" + strings.Join(keys, ", ") + "]}}"
}

func oneKey(provider, name string) string {
	return fmt.Sprintf("{%s: {keys: [{name: %s, secret: %s}]}}", provider, name, secretKey(name[0]))
}

const identity = "{identity: {}}"

// file writes a configuration in one step, as tools do that replace mounted files.
func file(t *testing.T, path string, resources string, providers ...string) {
	t.Helper()
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [" + resources + "]\n  providers: [" +
		strings.Join(providers, ", ") + "]\n"
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func encrypted(path string) apitest.Option {
	return apitest.With(func(c *apiserver.Config) {
		c.EncryptionConfig, c.EncryptionReload, c.EncryptionEvery = path, true, 20*time.Millisecond
	})
}

func etcd(t *testing.T, api *apitest.Server) *clientv3.Client {
	client, err := storage.Dial(storage.ExternalConfig{Servers: []string{"unix://" + filepath.Join(api.Dir, "etcd.sock")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// stored is what etcd holds of a Secret.
func stored(t *testing.T, etcd *clientv3.Client, name string) string {
	t.Helper()
	resp, err := etcd.Get(context.Background(), "/registry/secrets/default/"+name)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("secret %s in etcd: %v, %v", name, resp, err)
	}
	return string(resp.Kvs[0].Value)
}

func create(t *testing.T, client kubernetes.Interface, name string) *corev1.Secret {
	t.Helper()
	s, err := client.CoreV1().Secrets("default").Create(context.Background(),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"password": []byte("correct horse")}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(client kubernetes.Interface, name string) error {
	s, err := client.CoreV1().Secrets("default").Get(context.Background(), name, metav1.GetOptions{})
	if err == nil && string(s.Data["password"]) != "correct horse" {
		err = fmt.Errorf("secret %s holds %q", name, s.Data)
	}
	return err
}

func TestEveryProvider(t *testing.T) {
	plugin := startPlugin(t)
	for _, tt := range []struct{ provider, prefix string }{
		{aescbc("a"), "k8s:enc:aescbc:v1:a:"}, {oneKey("aesgcm", "g"), "k8s:enc:aesgcm:v1:g:"},
		{oneKey("secretbox", "s"), "k8s:enc:secretbox:v1:s:"}, {plugin.provider("p"), "k8s:enc:kms:v2:p:"},
	} {
		t.Run(tt.prefix, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "enc.yaml")
			file(t, path, "secrets", tt.provider)
			api := apitest.Start(t, encrypted(path))
			client, db := api.Client(), etcd(t, api)
			ctx := context.Background()
			watch, err := client.CoreV1().Secrets("default").Watch(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer watch.Stop()
			create(t, client, "one")
			if got := stored(t, db, "one"); !strings.HasPrefix(got, tt.prefix) || strings.Contains(got, "correct horse") {
				t.Errorf("etcd holds %q", got)
			}
			event := <-watch.ResultChan()
			if s, ok := event.Object.(*corev1.Secret); !ok || string(s.Data["password"]) != "correct horse" {
				t.Errorf("watch said %v", event)
			}
			// Another server, with the same file, has it from etcd alone.
			second := api.Second().Client()
			if err := read(second, "one"); err != nil {
				t.Error(err)
			}
			if _, err := second.CoreV1().Secrets("default").Patch(ctx, "one", "application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
			list, err := client.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{LabelSelector: "a=b"})
			if err != nil || len(list.Items) != 1 {
				t.Errorf("list: %v, %v", list, err)
			}
			// What no rule names is stored as it is.
			if resp, err := db.Get(ctx, "/registry/configmaps/kube-system/extension-apiserver-authentication"); err != nil || len(resp.Kvs) != 1 || !strings.HasPrefix(string(resp.Kvs[0].Value), "k8s\x00") {
				t.Errorf("a config map in etcd: %v, %v", resp, err)
			}
			if err := client.CoreV1().Secrets("default").Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWildcards(t *testing.T) {
	path := filepath.Join(t.TempDir(), "enc.yaml")
	file(t, path, "'*.'", aescbc("a"))
	api := apitest.Start(t, encrypted(path))
	for key, want := range map[string]string{
		"/registry/configmaps/kube-system/extension-apiserver-authentication": "k8s:enc:", "/registry/services/specs/default/kubernetes": "k8s:enc:",
		"/registry/clusterroles/cluster-admin": "k8s\x00", "/registry/ranges/servicenodeports": "k8s\x00",
	} {
		resp, err := etcd(t, api).Get(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Kvs) == 0 && strings.Contains(key, "ranges") {
			continue // made with the first node port
		}
		if len(resp.Kvs) != 1 || !strings.HasPrefix(string(resp.Kvs[0].Value), want) {
			t.Errorf("%s: %v, want %q", key, resp.Kvs, want)
		}
	}
}

// The way of a rotation: the new key is added to read, then put first, then everything is rewritten, then the old one goes.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "enc.yaml")
	file(t, path, "secrets", identity)
	api := apitest.Start(t, encrypted(path))
	client, db := api.Client(), etcd(t, api)
	create(t, client, "one")
	if got := stored(t, db, "one"); !strings.HasPrefix(got, "k8s\x00") {
		t.Fatalf("etcd holds %q", got)
	}
	rewrite := func() error {
		s, err := client.CoreV1().Secrets("default").Get(context.Background(), "one", metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = client.CoreV1().Secrets("default").Update(context.Background(), s, metav1.UpdateOptions{})
		return err
	}
	previous := ""
	for _, step := range []struct {
		providers []string
		prefix    string
	}{
		{[]string{aescbc("a"), identity}, "k8s:enc:aescbc:v1:a:"},
		{[]string{aescbc("b", "a")}, "k8s:enc:aescbc:v1:b:"},
		{[]string{oneKey("secretbox", "s"), aescbc("b", "a")}, "k8s:enc:secretbox:v1:s:"},
		{[]string{identity, oneKey("secretbox", "s")}, "k8s\x00"},
	} {
		file(t, path, "secrets", step.providers...)
		apitest.Eventually(t, func() error {
			if err := rewrite(); err != nil {
				return err
			}
			if got := stored(t, db, "one"); !strings.HasPrefix(got, step.prefix) {
				return fmt.Errorf("etcd holds %q, want %q", got, step.prefix)
			}
			return nil
		})
		// Once it is as it should be, an update that changes nothing is none.
		before := stored(t, db, "one")
		if err := rewrite(); err != nil {
			t.Fatal(err)
		}
		if after := stored(t, db, "one"); after != before || after == previous {
			t.Errorf("after %s an empty update wrote", step.prefix)
		}
		previous = before
		if err := read(client, "one"); err != nil {
			t.Error(err)
		}
	}
}

func TestUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "enc.yaml")
	file(t, path, "secrets", aescbc("a"))
	api := apitest.Start(t, encrypted(path))
	create(t, api.Client(), "one")
	// A server that lacks the key.
	other := filepath.Join(t.TempDir(), "enc.yaml")
	file(t, other, "secrets", aescbc("b"))
	second := api.Second(encrypted(other)).Client()
	ctx := context.Background()
	for _, tt := range []struct {
		name, want string
		do         func() error
	}{
		{"get", "no matching key was found for the provided AES transformer", func() error { return read(second, "one") }},
		{"list", `Internal error occurred: unable to transform key "/registry/secrets/default/one": no matching key was found for the provided AES transformer`, func() error {
			_, err := second.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
			return err
		}},
		{"delete", "no matching key", func() error { return second.CoreV1().Secrets("default").Delete(ctx, "one", metav1.DeleteOptions{}) }},
		{"patch", "no matching key", func() error {
			_, err := second.CoreV1().Secrets("default").Patch(ctx, "one", "application/merge-patch+json", []byte(`{"data":{}}`), metav1.PatchOptions{})
			return err
		}},
	} {
		err := tt.do()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := second.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("other kinds suffer: %v", err)
	}
	// The key arrives.
	file(t, other, "secrets", aescbc("b", "a"))
	apitest.Eventually(t, func() error { return read(second, "one") })
}

func TestBadFileChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "enc.yaml")
	file(t, path, "secrets", aescbc("a"))
	api := apitest.Start(t, encrypted(path))
	client, db := api.Client(), etcd(t, api)
	file(t, path, "Secrets", aescbc("b"))
	metric := func() string {
		text, _ := client.Discovery().RESTClient().Get().AbsPath("/metrics").Do(context.Background()).Raw()
		return string(text)
	}
	apitest.Eventually(t, func() error {
		if !strings.Contains(metric(), `apiserver_encryption_config_controller_automatic_reloads_total{status="failure"}`) {
			return errors.New("no failed reload has been counted")
		}
		return nil
	})
	create(t, client, "one")
	if got := stored(t, db, "one"); !strings.HasPrefix(got, "k8s:enc:aescbc:v1:a:") {
		t.Errorf("etcd holds %q", got)
	}
	file(t, path, "secrets", aescbc("b", "a"))
	apitest.Eventually(t, func() error {
		if !strings.Contains(metric(), `apiserver_encryption_config_controller_automatic_reloads_total{status="success"} 1`) {
			return errors.New("no reload has been counted")
		}
		return nil
	})
}

func TestPluginKeyRotationAndOutage(t *testing.T) {
	plugin := startPlugin(t)
	path := filepath.Join(t.TempDir(), "enc.yaml")
	file(t, path, "secrets", plugin.provider("p"))
	api := apitest.Start(t, encrypted(path))
	client, db := api.Client(), etcd(t, api)
	create(t, client, "one")
	health := func() error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz/kms-providers").Do(context.Background()).Error()
	}
	if err := health(); err != nil {
		t.Fatal(err)
	}
	// The plugin dies: what was encrypted with its key can be read and written still, by this server and by nobody else.
	plugin.stop()
	if err := read(client, "one"); err != nil {
		t.Error(err)
	}
	create(t, client, "two")
	apitest.Eventually(t, func() error {
		if health() == nil {
			return errors.New("/readyz/kms-providers does not notice")
		}
		return nil
	})
	other := filepath.Join(t.TempDir(), "enc.yaml")
	file(t, other, "secrets", plugin.provider("p"))
	late := api.Second(encrypted(other)).Client()
	apitest.Eventually(t, func() error {
		if err := read(late, "one"); err == nil || !strings.Contains(err.Error(), "failed to decrypt DEK") {
			return fmt.Errorf("reading without the plugin: %v", err)
		}
		return nil
	})
	if _, err := late.CoreV1().Secrets("default").Create(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "three"}}, metav1.CreateOptions{}); err == nil {
		t.Error("a secret was stored without a key")
	}
	// It comes back with another key. What is stored with the old one is stale.
	plugin.use("2")
	plugin.start()
	before := stored(t, db, "one")
	file(t, path, "secrets", plugin.provider("p"), identity) // has the key looked at now and not within a minute
	apitest.Eventually(t, func() error {
		s, err := client.CoreV1().Secrets("default").Get(context.Background(), "one", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if _, err = client.CoreV1().Secrets("default").Update(context.Background(), s, metav1.UpdateOptions{}); err != nil {
			return err
		}
		if after := stored(t, db, "one"); after == before || !strings.Contains(after, "key 2") {
			return fmt.Errorf("etcd holds %q", after)
		}
		return nil
	})
	apitest.Eventually(t, func() error { return read(late, "two") })
	apitest.Eventually(t, health)
}

// plugin is a KMS whose encryption is a disguise.
type plugin struct {
	kmsv2.UnimplementedKeyManagementServiceServer
	t      *testing.T
	path   string
	server *grpc.Server

	mu  sync.Mutex
	key string
}

func startPlugin(t *testing.T) *plugin {
	dir, err := os.MkdirTemp("", "kms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &plugin{t: t, path: filepath.Join(dir, "s"), key: "1"}
	p.start()
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *plugin) start() {
	l, err := net.Listen("unix", p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.server = grpc.NewServer()
	kmsv2.RegisterKeyManagementServiceServer(p.server, p)
	go func() { _ = p.server.Serve(l) }()
}

func (p *plugin) stop() { p.server.Stop() }

func (p *plugin) use(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key = key
}

func (p *plugin) provider(name string) string {
	return fmt.Sprintf("{kms: {apiVersion: v2, name: %s, timeout: 500ms, endpoint: 'unix://%s'}}", name, p.path)
}

func (p *plugin) id() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "key " + p.key
}

func (p *plugin) Status(context.Context, *kmsv2.StatusRequest) (*kmsv2.StatusResponse, error) {
	return &kmsv2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: p.id()}, nil
}

func (p *plugin) Encrypt(_ context.Context, req *kmsv2.EncryptRequest) (*kmsv2.EncryptResponse, error) {
	return &kmsv2.EncryptResponse{Ciphertext: mask(req.Plaintext), KeyId: p.id(), Annotations: map[string][]byte{"by.example": []byte("test")}}, nil
}

func (p *plugin) Decrypt(_ context.Context, req *kmsv2.DecryptRequest) (*kmsv2.DecryptResponse, error) {
	if string(req.Annotations["by.example"]) != "test" {
		return nil, errors.New("the annotations are lost")
	}
	return &kmsv2.DecryptResponse{Plaintext: mask(req.Ciphertext)}, nil
}

func mask(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i] ^ 0x55
	}
	return out
}
