package contract

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Role names a part of the data plane. One node process plays one role.
type Role string

// Roles of a node.
const (
	RoleBroker  Role = "broker"
	RoleAuth    Role = "auth"
	RoleGrid    Role = "grid"
	RoleGateway Role = "gateway"
	RoleIngest  Role = "ingest"
	RoleEdge    Role = "edge"
	// RoleVault keeps who a subject is, and does what residents ask for.
	RoleVault Role = "vault"
)

// Users of the broker that come with a client certificate of the platform's own CA. Each is the last segment of the URI
// in that certificate (see RoleURI) and holds the permissions of exactly one task.
const (
	// UserAuth answers the auth callout, in AccountAuth.
	UserAuth = "auth"
	// UserAuthBundle lets the role auth read bundles and write its report, in AccountDevices.
	UserAuthBundle = "auth-bundle"
	// UserAuthSystem may KICK a connection and list connections (CONNZ), in AccountSystem, and nothing else.
	UserAuthSystem = "auth-system"
	// UserGrid reads the ingest log, bundles, and publishes enriched signals and commands.
	UserGrid = "grid"
	// UserGateway reads bundles and writes its report.
	UserGateway = "gateway"
	// UserVault reads bundles and writes its report.
	UserVault = "vault"
	// UserBroker is a broker to the others of its platform. It is no user of the client listener.
	UserBroker = "broker"
	// UserIngest writes what EMQX took from devices, and what clouds sent over HTTPS, into the ingest log, hears the commands for devices
	// on EMQX, and reads bundles.
	UserIngest = "ingest"
	// UserEMQX asks the roles auth and ingest. It is no user of the broker.
	UserEMQX = "emqx"
	// UserOperator publishes bundles and leases and reads reports.
	UserOperator = "operator"
)

// Accounts of the broker. Devices, the ingest log and the grid service share one; an edge node never enters it.
const (
	AccountSystem  = "SYS"
	AccountAuth    = "AUTH"
	AccountDevices = "DEV"
	AccountEdge    = "EDGE"
)

// Streams, buckets and subjects.
const (
	// IngestStream is the stream in which the server stores every MQTT message of QoS 1 before it sends the PUBACK. It is
	// the ingest log: what is in it was acknowledged, what was acknowledged is in it.
	IngestStream = "$MQTT_msgs"
	// IngestFilter selects what devices and clouds sent from the ingest log. It is one filter and not two: only a consumer with one has it
	// in the subject by which it is made, where a permission can hold it fast.
	IngestFilter = "$MQTT.msgs.dizuo.v1.>"
	// IngestPrefix precedes the device subject in the ingest log.
	IngestPrefix = "$MQTT.msgs."
	// IngestConsumer is the durable consumer of the grid service on the ingest log.
	IngestConsumer = "grid"
	// LeaseBucket is the key-value bucket of signed leases, keyed by scope.
	LeaseBucket = "dizuo-leases"
	// BundleStore is the object store of shards and indexes, named by content.
	BundleStore = "dizuo-bundles"
	// ReportBucket is the key-value bucket of reports, keyed by role and instance.
	ReportBucket = "dizuo-reports"
	// EnrolledBucket is the key-value bucket of the devices that open enrolment took in; only the role auth uses it.
	EnrolledBucket = "dizuo-enrolled"
	// SubjectIngest is where the role ingest says, every IngestBeat, that it holds what EMQX acknowledges.
	SubjectIngest = "dizuo.internal.ingest"
	// ScopeCenter is the scope of the full bundle that the roles at the centre run.
	ScopeCenter = "center"
)

// IngestBeat is how often the role ingest says that it is there.
const IngestBeat = time.Second

// IngestClientID gives the client id of an instance of the role ingest in EMQX. A device's holds no dot.
func IngestClientID(instance string) string { return "ingest." + instance }

// IngestPath is the path, with the fleet's name, to which a cloud posts a message for one of the fleet's devices.
const IngestPath = "/v1/fleets/{fleet}/messages"

// EMQXPath is where EMQX posts to the role auth.
const EMQXPath = "/emqx/authn"

// TrustDomain gives the SPIFFE trust domain of a platform.
func TrustDomain(platform string) string { return platform + ".dizuo.internal" }

// FleetDomain gives the host that stands in the URI of every device certificate of a fleet. The fleet is part of the host
// because X.509 name constraints bind only the host of a URI (RFC 5280, 4.2.1.10).
func FleetDomain(fleet, platform string) string { return fleet + "." + TrustDomain(platform) }

// DeviceURI gives the URI subject alternative name of a device's certificate.
func DeviceURI(platform, fleet, device string) string {
	return "spiffe://" + FleetDomain(fleet, platform) + "/" + device
}

// RoleURI gives the URI subject alternative name of the certificate of a user of the broker.
func RoleURI(platform, user string) string {
	return "spiffe://" + TrustDomain(platform) + "/role/" + user
}

// InboxPrefix gives the prefix of the reply subjects of a user of the broker. Each user may subscribe to its own only, so no
// role reads the answers that another one asked for.
func InboxPrefix(user string) string { return "_INBOX_" + user }

// OrganizationURI gives the URI subject alternative name of the certificate that the platform issues for one identity of an
// organisation. The namespace is in it: who takes a name that is free again, or had it before, does not speak for another of that name.
// Taking the identity away takes the certificate's force away, before it expires.
func OrganizationURI(platform, namespace, organization, identity string) string {
	return "spiffe://" + TrustDomain(platform) + "/organization/" + namespace + "/" + organization + "/" + identity
}

// ParseDeviceURI reads fleet and device from a device certificate's URI. It fails for a URI of another platform.
func ParseDeviceURI(platform, uri string) (fleet, device string, err error) {
	host, path, ok := strings.Cut(strings.TrimPrefix(uri, "spiffe://"), "/")
	fleet, found := strings.CutSuffix(host, "."+TrustDomain(platform))
	if !strings.HasPrefix(uri, "spiffe://") || !ok || !found || !ValidFleet(fleet) || !ValidDevice(path) {
		return "", "", fmt.Errorf("certificate URI %q: want spiffe://<fleet>.%s/<device>", uri, TrustDomain(platform))
	}
	return fleet, path, nil
}

var (
	deviceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	fleetName  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// ValidDevice reports whether a device name is safe in a topic, a subject and a client id.
func ValidDevice(name string) bool { return deviceName.MatchString(name) }

// ValidFleet reports whether a fleet name is a DNS label (RFC 1123), as its place in a certificate's host asks.
func ValidFleet(name string) bool { return fleetName.MatchString(name) }

// DeviceID joins fleet and device to the name of a device on a platform. Neither part can hold a dot.
func DeviceID(fleet, device string) string { return fleet + "." + device }

// ParseDeviceID splits what DeviceID joined.
func ParseDeviceID(id string) (fleet, device string, err error) {
	fleet, device, ok := strings.Cut(id, ".")
	if !ok || !ValidFleet(fleet) || !ValidDevice(device) {
		return "", "", fmt.Errorf("device %q: want <fleet>.<device>", id)
	}
	return fleet, device, nil
}

// ClientID gives the MQTT client id of a device whose row binds none.
func ClientID(fleet, device string) string { return fleet + "_" + device }

// ParseClientID splits what ClientID joined; ok is false for a client id that no device has by its name. A fleet's name holds no "_",
// so the first one ends it.
func ParseClientID(id string) (fleet, device string, ok bool) {
	fleet, device, ok = strings.Cut(id, "_")
	return fleet, device, ok && ValidFleet(fleet) && ValidDevice(device)
}

// Channel is the last level of a device's topic.
type Channel string

// Channels of a device: the first four go up, the last two down.
const (
	ChannelTelemetry Channel = "telemetry"
	ChannelSignal    Channel = "signal"
	ChannelState     Channel = "state"
	ChannelAck       Channel = "ack"
	ChannelCommand   Channel = "cmd"
	ChannelDesired   Channel = "desired"
)

// UpChannels lists what a device may publish to.
func UpChannels() []Channel {
	return []Channel{ChannelTelemetry, ChannelSignal, ChannelState, ChannelAck}
}

// DownChannels lists what a device may subscribe to.
func DownChannels() []Channel { return []Channel{ChannelCommand, ChannelDesired} }

// DeviceTopic gives the MQTT topic of a device's channel.
func DeviceTopic(fleet, device string, c Channel) string {
	return "dizuo/v1/d/" + fleet + "/" + device + "/" + string(c)
}

// ParseDeviceTopic reads fleet, device and channel from a device topic.
func ParseDeviceTopic(topic string) (fleet, device string, c Channel, err error) {
	if strings.Contains(topic, ".") {
		return "", "", "", fmt.Errorf("topic %q: want dizuo/v1/d/<fleet>/<device>/<channel>", topic)
	}
	return ParseDeviceSubject(strings.ReplaceAll(topic, "/", "."))
}

// DeviceSubject gives the NATS subject that the server maps DeviceTopic to.
func DeviceSubject(fleet, device string, c Channel) string {
	return "dizuo.v1.d." + fleet + "." + device + "." + string(c)
}

// ParseDeviceSubject reads fleet, device and channel from a device subject, with or without IngestPrefix.
func ParseDeviceSubject(subject string) (fleet, device string, c Channel, err error) {
	parts := strings.Split(strings.TrimPrefix(subject, IngestPrefix), ".")
	if len(parts) != 6 || parts[0] != "dizuo" || parts[1] != "v1" || parts[2] != "d" || !ValidFleet(parts[3]) || !ValidDevice(parts[4]) {
		return "", "", "", fmt.Errorf("subject %q: want dizuo.v1.d.<fleet>.<device>.<channel>", subject)
	}
	return parts[3], parts[4], Channel(parts[5]), nil
}

// PlatformDevice is the name, in place of a device's, of the one identity that speaks for a fleet of access mode Platform. No row may
// have it.
const PlatformDevice = "_platform"

// PlatformChannel is the last level of a topic of a vendor's or carrier's cloud.
type PlatformChannel string

// Channels of a cloud.
const (
	PlatformUp   PlatformChannel = "up"
	PlatformDown PlatformChannel = "down"
)

// PlatformTopic gives the MQTT topic of a cloud's channel: one for all devices of a fleet of access mode Platform.
func PlatformTopic(fleet string, c PlatformChannel) string {
	return "dizuo/v1/p/" + fleet + "/" + string(c)
}

// PlatformSubject gives the NATS subject that the server maps PlatformTopic to.
func PlatformSubject(fleet string, c PlatformChannel) string {
	return "dizuo.v1.p." + fleet + "." + string(c)
}

// ParsePlatformSubject reads fleet and channel from a cloud's subject, with or without IngestPrefix.
func ParsePlatformSubject(subject string) (fleet string, c PlatformChannel, err error) {
	parts := strings.Split(strings.TrimPrefix(subject, IngestPrefix), ".")
	if len(parts) != 5 || parts[0] != "dizuo" || parts[1] != "v1" || parts[2] != "p" || !ValidFleet(parts[3]) {
		return "", "", fmt.Errorf("subject %q: want dizuo.v1.p.<fleet>.<channel>", subject)
	}
	return parts[3], PlatformChannel(parts[4]), nil
}

// CommunitySubject gives the NATS subject under which the grid service republishes an enriched signal of a community.
func CommunitySubject(community, fleet, device string, c Channel) string {
	return "dizuo.v1.c." + community + "." + fleet + "." + device + "." + string(c)
}

// ReportKey gives the key of a report in ReportBucket.
func ReportKey(r Role, instance string) string {
	return string(r) + "." + strings.ReplaceAll(instance, ".", "_")
}
