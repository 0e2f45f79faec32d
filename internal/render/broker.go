package render

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// servicePeers gives every broker pod a name, also before it is ready: the brokers look for each other by it.
const servicePeers = "dizuo-broker-peers"

// broker gives the role broker: NATS servers whose volumes hold the ingest log, bundles and reports.
func (p platform) broker() []Object {
	config := p.nodeConfig(contract.RoleBroker)
	config.Broker = &contract.BrokerConfig{
		StoreDir: stateDir + "/jetstream", MQTTPort: portMQTT, ClientPort: portClient,
		TLS: tlsFiles(compile.SecretBrokerTLS), CalloutKeyFile: secretsDir + "/callout/public", SyncInterval: p.syncInterval(),
		Ingest:   contract.IngestLog{MaxAgeSeconds: int64(p.Spec.Broker.Ingest.MaxAge.Seconds()), MaxBytes: p.Spec.Broker.Ingest.MaxBytes.Value()},
		Replicas: int(p.Brokers.Replicas), Peers: p.peers(), PeerPort: portPeers, PeerTLS: tlsFiles(roleSecret(contract.UserBroker)),
		Edge: p.edgeListener(),
	}
	cm, text := p.configMap(config)
	certs := []string{compile.SecretBrokerTLS, roleSecret(contract.UserBroker)}
	c := probed(p.container("broker", []string{"broker", "--config", configDir + "/node.yaml"}, v1alpha1.ComponentBroker, "64Mi")).
		WithPorts(port("mqtt", portMQTT), port("client", portClient), port("peers", portPeers)).
		WithVolumeMounts(mount("data", stateDir), mount("callout", secretsDir+"/callout")).WithVolumeMounts(tlsMounts(certs...)...)
	if p.Edges {
		c.WithPorts(port("edge", portEdge))
	}
	volumes := append(nodeVolumes(contract.RoleBroker, certs...), secretVolume("callout", compile.SecretCallout, "public"))
	storage := p.Spec.Broker.Storage
	if storage.Size.IsZero() { // room for the ingest log, the device sessions and three bundles
		storage.Size = *resource.NewQuantity(2*p.Spec.Broker.Ingest.MaxBytes.Value(), resource.BinarySI)
	}
	l, devices := p.Spec.Broker.Listener, "broker"
	if p.EMQX != nil && p.EMQX.Leads { // the address that devices know stays
		devices = componentEMQX
	}
	return append(p.edgeService(),
		cm,
		p.service("dizuo-broker", devices, l.ServiceType, l.NodePort, l.Port, portMQTT, "mqtts"),
		p.service("dizuo-nats", "broker", v1alpha1.ServiceClusterIP, nil, portClient, portClient, "nats"),
		p.peerService(),
		p.statefulSet("broker", servicePeers, p.Brokers.Pods, p.podTemplate("broker", userNode, text, nil, c, volumes...), "data", storage),
	)
}

// peers names the brokers, for each of them.
func (p platform) peers() []contract.PeerConfig {
	var out []contract.PeerConfig
	for i := range p.Brokers.Peers {
		name := fmt.Sprintf("dizuo-broker-%d", i)
		host := name + "." + p.host(servicePeers)
		out = append(out, contract.PeerConfig{Name: name, Route: fmt.Sprintf("%s:%d", host, portPeers), Health: fmt.Sprintf("http://%s:%d", host, portHealth)})
	}
	return out
}

func (p platform) peerService() Object {
	return corev1ac.Service(servicePeers, p.Namespace).WithLabels(labels(p.owner, "broker")).
		WithSpec(corev1ac.ServiceSpec().WithType(corev1.ServiceTypeClusterIP).WithClusterIP(corev1.ClusterIPNone).WithPublishNotReadyAddresses(true).
			WithSelector(selector("broker")).WithPorts(corev1ac.ServicePort().WithName("peers").WithPort(portPeers).
			WithTargetPort(intstr.FromInt32(portPeers)).WithProtocol(corev1.ProtocolTCP)))
}

func (p platform) syncInterval() string {
	if d := p.Spec.Broker.SyncInterval; d != nil {
		if d.Duration == 0 {
			return "always"
		}
		return d.Duration.String()
	}
	return "1s"
}
