package volumes

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

type tokenKey struct {
	audience string
	seconds  int64
}

// longest is how long a token is used at most, however long it is valid.
const longest = 24 * time.Hour

// token is the pod's token for an audience, asked for when there is none yet or four fifths of its life are over.
func (p *Pod) token(ctx context.Context, pod *corev1.Pod, s *corev1.ServiceAccountTokenProjection) (string, error) {
	key := tokenKey{audience: s.Audience, seconds: 3600}
	if s.ExpirationSeconds != nil {
		key.seconds = *s.ExpirationSeconds
	}
	p.mu.Lock()
	have := p.tokens[key]
	p.mu.Unlock()
	if have != nil && time.Now().Before(renewal(have)) {
		p.renewBy(renewal(have))
		return have.Status.Token, nil
	}
	ask := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &key.seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if s.Audience != "" {
		ask.Spec.Audiences = []string{s.Audience}
	}
	got, err := p.cfg.Objects.Token(ctx, pod.Namespace, pod.Spec.ServiceAccountName, ask)
	if err != nil {
		if have != nil && time.Now().Before(have.Status.ExpirationTimestamp.Time) {
			p.renewBy(time.Now().Add(30 * time.Second)) // still good; try again soon
			return have.Status.Token, nil
		}
		return "", fmt.Errorf("failed to fetch token: %w", err)
	}
	p.mu.Lock()
	p.tokens[key] = got
	p.mu.Unlock()
	p.renewBy(renewal(got))
	return got.Status.Token, nil
}

func renewal(t *authenticationv1.TokenRequest) time.Time {
	expires := t.Status.ExpirationTimestamp.Time
	life := time.Hour
	if t.Spec.ExpirationSeconds != nil {
		life = time.Duration(*t.Spec.ExpirationSeconds) * time.Second
	}
	early := expires.Add(-life / 5)
	if most := expires.Add(-life).Add(longest); most.Before(early) {
		return most
	}
	return early
}

// trustAnchors are the certificates of the bundles that a source selects, each once.
func (p *Pod) trustAnchors(ctx context.Context, s *corev1.ClusterTrustBundleProjection) ([]byte, error) {
	bundles, err := p.cfg.Objects.TrustBundles(ctx)
	if err != nil {
		return nil, err
	}
	optional := s.Optional != nil && *s.Optional
	var chosen []*certificatesv1.ClusterTrustBundle
	switch {
	case s.Name != nil:
		i := slices.IndexFunc(bundles, func(b *certificatesv1.ClusterTrustBundle) bool { return b.Name == *s.Name })
		if i < 0 {
			if optional {
				return nil, nil
			}
			return nil, fmt.Errorf("while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io %q not found", *s.Name)
		}
		chosen = bundles[i : i+1]
	case s.SignerName != nil:
		if chosen, err = bySigner(bundles, *s.SignerName, s.LabelSelector); err != nil {
			return nil, err
		}
		if len(chosen) == 0 && !optional {
			return nil, errors.New("combination of signerName and labelSelector matched zero ClusterTrustBundles")
		}
	default:
		return nil, errors.New("ClusterTrustBundle projection requires either name or signerName to be set")
	}
	return anchors(chosen), nil
}

// bySigner matches nothing without a selector and everything with an empty one.
func bySigner(bundles []*certificatesv1.ClusterTrustBundle, signer string, wanted *metav1.LabelSelector) ([]*certificatesv1.ClusterTrustBundle, error) {
	selector, err := metav1.LabelSelectorAsSelector(wanted)
	if err != nil {
		return nil, fmt.Errorf("while parsing label selector: %w", err)
	}
	var chosen []*certificatesv1.ClusterTrustBundle
	for _, b := range bundles {
		if b.Spec.SignerName == signer && selector.Matches(labels.Set(b.Labels)) {
			chosen = append(chosen, b)
		}
	}
	return chosen, nil
}

// anchors is sorted, so that the same bundles make the same file.
func anchors(bundles []*certificatesv1.ClusterTrustBundle) []byte {
	var ders [][]byte
	for _, b := range bundles {
		for rest := []byte(b.Spec.TrustBundle); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			ders = append(ders, block.Bytes)
		}
	}
	slices.SortFunc(ders, bytes.Compare)
	var out bytes.Buffer
	for _, der := range slices.CompactFunc(ders, bytes.Equal) {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return out.Bytes()
}
