package render

import (
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// broker gives the role broker: one NATS server whose volume holds the ingest log, bundles and reports.
func (p platform) broker() []Object {
	config := p.nodeConfig(contract.RoleBroker)
	config.Broker = &contract.BrokerConfig{
		ServerName: "dizuo-broker-0", StoreDir: stateDir + "/jetstream", MQTTPort: portMQTT, ClientPort: portClient,
		TLS: tlsFiles(compile.SecretBrokerTLS), CalloutKeyFile: secretsDir + "/callout/public", SyncInterval: p.syncInterval(), Replicas: 1,
		Ingest: contract.IngestConfig{MaxAgeSeconds: int64(p.Spec.Broker.Ingest.MaxAge.Seconds()), MaxBytes: p.Spec.Broker.Ingest.MaxBytes.Value()},
	}
	cm, text := p.configMap(config)
	c := probed(p.container("broker", []string{"broker", "--config", configDir + "/node.yaml"}, v1alpha1.ComponentBroker, "64Mi")).
		WithPorts(port("mqtt", portMQTT), port("client", portClient)).
		WithVolumeMounts(mount("data", stateDir), mount("callout", secretsDir+"/callout")).WithVolumeMounts(tlsMounts(compile.SecretBrokerTLS)...)
	volumes := append(nodeVolumes(contract.RoleBroker, compile.SecretBrokerTLS), secretVolume("callout", compile.SecretCallout, "public"))
	storage := p.Spec.Broker.Storage
	if storage.Size.IsZero() { // room for the ingest log, the device sessions and three bundles
		storage.Size = *resource.NewQuantity(2*p.Spec.Broker.Ingest.MaxBytes.Value(), resource.BinarySI)
	}
	l := p.Spec.Broker.Listener
	return []Object{
		cm,
		p.service("dizuo-broker", "broker", l.ServiceType, l.NodePort, l.Port, portMQTT, "mqtts"),
		p.service("dizuo-nats", "broker", v1alpha1.ServiceClusterIP, nil, portClient, portClient, "nats"),
		p.statefulSet("broker", p.podTemplate("broker", userNode, text, nil, c, volumes...), "data", storage),
	}
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
