package nodelifecycle

import (
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
)

const (
	// excluded is the label of nodes that say nothing about the health of their zone.
	excluded = "node.kubernetes.io/exclude-disruption"
	// partial is how many nodes must be down before a zone counts as disrupted at all.
	partial = 3
)

// zoneOf answers the failure domain of a node, "" when it names none.
func zoneOf(node *corev1.Node) string {
	region, zone := node.Labels[corev1.LabelTopologyRegion], node.Labels[corev1.LabelTopologyZone]
	if region == "" && zone == "" {
		return ""
	}
	return region + ":\x00:" + zone
}

// count is how many nodes of a zone are ready and how many are not.
type count struct{ ready, down int }

// census counts the nodes of each zone.
func census(nodes []*corev1.Node) map[string]count {
	zones := map[string]count{}
	for _, node := range nodes {
		if _, out := node.Labels[excluded]; out {
			continue
		}
		n := zones[zoneOf(node)]
		if readiness(node) == corev1.ConditionTrue {
			n.ready++
		} else {
			n.down++
		}
		zones[zoneOf(node)] = n
	}
	return zones
}

// noneReady says that no zone has a node that is ready.
func noneReady(zones map[string]count) bool {
	for _, n := range zones {
		if n.ready > 0 {
			return false
		}
	}
	return len(zones) > 0
}

// limits is the speed of evictions in each zone.
type limits struct {
	config Config
	zones  map[string]*rate.Limiter
}

// allow says whether one more node of the zone may lose its pods now, and if not when to ask again; zero means when the
// zone's state changes.
func (l *limits) allow(zone string, n count, now time.Time) (bool, time.Duration) {
	speed := rate.Limit(l.config.EvictionRate)
	if n.ready > 0 && n.down >= partial && float32(n.down)/float32(n.down+n.ready) >= l.config.Unhealthy {
		speed = 0
		if n.down+n.ready > l.config.Large {
			speed = rate.Limit(l.config.SecondRate)
		}
	}
	limiter := l.zones[zone]
	if limiter == nil {
		if l.zones == nil {
			l.zones = map[string]*rate.Limiter{}
		}
		limiter = rate.NewLimiter(speed, 1)
		l.zones[zone] = limiter
	}
	limiter.SetLimitAt(now, speed)
	if speed == 0 {
		return false, 0
	}
	if limiter.AllowN(now, 1) {
		return true, 0
	}
	return false, time.Duration(float64(time.Second) / float64(speed))
}
