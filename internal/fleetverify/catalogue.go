package fleetverify

// Group is what checks belong together.
type Group string

// Groups in the order of the report.
const (
	GroupTLS       Group = "tls"
	GroupDevice    Group = "device"
	GroupConnect   Group = "connect"
	GroupPublish   Group = "publish"
	GroupSubscribe Group = "subscribe"
	GroupPayload   Group = "payload"
)

// Title gives the heading of a group.
func (g Group) Title(l Language) string { return groupTitles[g].In(l) }

var groupTitles = map[Group]Text{
	GroupTLS:       {"TLS and the broker's certificate", "TLS 与服务端证书"},
	GroupDevice:    {"The device's certificate", "设备证书"},
	GroupConnect:   {"Who may connect", "谁可以连接"},
	GroupPublish:   {"What the device may send", "设备可以发送什么"},
	GroupSubscribe: {"What the device may receive", "设备可以接收什么"},
	GroupPayload:   {"Sample payloads against the profile", "报文样例与物模型"},
}

// entry is a check as the catalogue has it.
type entry struct {
	id                     string
	group                  Group
	title, meaning, action Text
	// only names the method of identity that the check is for; empty is both.
	only string
}

// catalogue has every check in the order of the report. An id never changes its meaning.
var catalogue = []entry{
	{"tls.server-chain", GroupTLS,
		Text{"Certificate chain of the broker", "服务端证书链"},
		Text{"The broker proves with its certificate that it is this platform's, and not somebody between.", "服务端以证书证明自己属于本平台，而不是中间人。"},
		Text{"Take ca.crt from the Secret <fleet>-connection as it stands today; if it is that one, tell the operator of the platform.", "从 Secret <fleet>-connection 重新取 ca.crt；若确为该文件，请联系平台运维方。"}, ""},
	{"tls.server-name", GroupTLS,
		Text{"Name in the broker's certificate", "服务端证书中的名称"},
		Text{"The certificate is for the host that devices are told to connect to.", "证书确为设备所连主机签发。"},
		Text{"Connect to the host of the Secret <fleet>-connection; if it is that one, the platform's certificate lacks the name.", "请使用 Secret <fleet>-connection 中的 host；若确为该主机，则平台证书缺少该名称。"}, ""},
	{"tls.server-validity", GroupTLS,
		Text{"Validity of the broker's certificate", "服务端证书有效期"},
		Text{"The certificate is valid today.", "证书当前有效。"},
		Text{"The operator of the platform renews the certificate; check this machine's clock, too.", "由平台运维方续期证书；同时检查本机时钟。"}, ""},
	{"tls.version-1.2", GroupTLS,
		Text{"TLS 1.2 is accepted", "接受 TLS 1.2"},
		Text{"Devices with an older TLS library can connect safely.", "使用较旧 TLS 库的设备也能安全接入。"},
		Text{"Tell the operator of the platform: devices of this kind could not connect.", "请联系平台运维方：此类设备将无法接入。"}, ""},
	{"tls.version-1.3", GroupTLS,
		Text{"TLS 1.3 is accepted", "接受 TLS 1.3"},
		Text{"The present version of TLS is offered.", "支持现行 TLS 版本。"},
		Text{"Tell the operator of the platform.", "请联系平台运维方。"}, ""},
	{"tls.version-1.1", GroupTLS,
		Text{"TLS 1.1 is refused", "拒绝 TLS 1.1"},
		Text{"A version that is known to be weak cannot be used, even if a device asks for it (RFC 8996).", "已知不安全的版本不可用，即使设备请求（RFC 8996）。"},
		Text{"The operator of the platform sets TLS 1.2 as the lowest version of whatever stands before the broker.", "由平台运维方将服务端及其前置设备的最低版本设为 TLS 1.2。"}, ""},
	{"tls.version-1.0", GroupTLS,
		Text{"TLS 1.0 is refused", "拒绝 TLS 1.0"},
		Text{"A version that is known to be weak cannot be used, even if a device asks for it (RFC 8996).", "已知不安全的版本不可用，即使设备请求（RFC 8996）。"},
		Text{"The operator of the platform sets TLS 1.2 as the lowest version of whatever stands before the broker.", "由平台运维方将服务端及其前置设备的最低版本设为 TLS 1.2。"}, ""},
	{"tls.weak-ciphers", GroupTLS,
		Text{"RC4 and 3DES are refused", "拒绝 RC4 与 3DES"},
		Text{"Ciphers that can be broken cannot be used.", "可被破解的加密套件不可用。"},
		Text{"The operator of the platform removes RC4 and 3DES from whatever stands before the broker.", "由平台运维方在服务端及其前置设备上停用 RC4 与 3DES。"}, ""},
	{"tls.plaintext", GroupTLS,
		Text{"MQTT without TLS is refused", "拒绝未加密的 MQTT"},
		Text{"Nothing can be sent in the clear on the devices' port.", "设备端口上不能明文通信。"},
		Text{"The operator of the platform closes the plaintext listener.", "由平台运维方关闭明文监听。"}, ""},

	{"device.certificate-uri", GroupDevice,
		Text{"Identity in the certificate", "证书中的身份"},
		Text{"The certificate names exactly this device of this fleet.", "证书中恰好写明本批次的本设备。"},
		Text{"Issue the certificate with `dizuo fleet enroll`, with the --fleet and --platform of the connection.", "用 `dizuo fleet enroll` 按连接信息中的 --fleet 与 --platform 重新签发。"}, methodX509},
	{"device.certificate-usage", GroupDevice,
		Text{"Use of the certificate", "证书用途"},
		Text{"The certificate serves a client, cannot sign others, and its key is strong.", "证书仅用于客户端，不能签发其他证书，密钥强度足够。"},
		Text{"Issue the certificate with `dizuo fleet enroll`: digital signature, client authentication, no CA, P-256 or RSA from 2048 bits.", "用 `dizuo fleet enroll` 重新签发：数字签名、客户端认证、非 CA，P-256 或 2048 位以上 RSA。"}, methodX509},
	{"device.certificate-validity", GroupDevice,
		Text{"Validity of the device's certificate", "设备证书有效期"},
		Text{"The certificate is valid today.", "证书当前有效。"},
		Text{"Issue a new certificate with `dizuo fleet enroll --force`; check the clock.", "用 `dizuo fleet enroll --force` 重新签发；并检查时钟。"}, methodX509},
	{"device.certificate-issuer", GroupDevice,
		Text{"Issuer of the device's certificate", "设备证书签发者"},
		Text{"The certificate was signed by the fleet's CA, within the names that this CA may sign.", "证书由本批次 CA 签发，且在其允许的名称范围内。"},
		Text{"Sign with the CA in the Secret <fleet>-ca as it stands today.", "使用 Secret <fleet>-ca 中现行的 CA 签发。"}, methodX509},

	{"connect.accepted", GroupConnect,
		Text{"The device is let in", "设备可以接入"},
		Text{"With its own credential and client id the device connects by MQTT 3.1.1 and is answered.", "设备以自己的凭据与客户端标识按 MQTT 3.1.1 接入并得到应答。"},
		Text{"See that the row is in the inventory with a community (a device in store is not admitted), that the fleet is Ready, and that client id and credential are those of the row.", "确认台账中有该设备且已填写社区（库存设备不予接入）、批次已就绪、客户端标识与凭据和台账一致。"}, ""},
	{"connect.tls-1.2", GroupConnect,
		Text{"The device is let in over TLS 1.2", "设备可以经 TLS 1.2 接入"},
		Text{"The same holds for a device that speaks TLS 1.2 only: its credential travels another way there.", "仅支持 TLS 1.2 的设备同样可以接入（凭据在该版本中的传递方式不同）。"},
		Text{"Tell the operator of the platform.", "请联系平台运维方。"}, ""},
	{"connect.without-credential", GroupConnect,
		Text{"Nobody is let in without a credential", "无凭据不得接入"},
		Text{"Who knows a device's name alone cannot speak as the device.", "仅知道设备名称不能冒充设备。"},
		Text{"Do not accept: the platform's access control is open. Tell its operator.", "不予验收：平台接入控制失效。请联系运维方。"}, ""},
	{"connect.wrong-password", GroupConnect,
		Text{"A wrong password is refused", "拒绝错误口令"},
		Text{"A guessed password does not open.", "猜测的口令不能接入。"},
		Text{"Do not accept: the platform's access control is open. Tell its operator.", "不予验收：平台接入控制失效。请联系运维方。"}, methodPassword},
	{"connect.foreign-certificate", GroupConnect,
		Text{"A certificate of another issuer is refused", "拒绝其他签发者的证书"},
		Text{"A certificate with the device's name that the fleet's CA did not sign does not open.", "写有设备名称、但非本批次 CA 签发的证书不能接入。"},
		Text{"Do not accept: the platform's access control is open. Tell its operator.", "不予验收：平台接入控制失效。请联系运维方。"}, methodX509},
	{"connect.other-client-id", GroupConnect,
		Text{"Another device's client id is refused", "拒绝其他设备的客户端标识"},
		Text{"The device cannot take another's client id, which would cut that one off.", "设备不能占用其他设备的客户端标识并使其掉线。"},
		Text{"Do not accept: one device could cut off others. Tell the operator of the platform.", "不予验收：设备可使他人掉线。请联系平台运维方。"}, ""},
	{"connect.empty-client-id", GroupConnect,
		Text{"An empty client id is refused", "拒绝空客户端标识"},
		Text{"No connection is without a name in the platform's records.", "每个连接在平台记录中都有名称。"},
		Text{"Tell the operator of the platform.", "请联系平台运维方。"}, ""},
	{"connect.will", GroupConnect,
		Text{"A last will on the own topic is accepted", "可在自己的主题上设置遗嘱"},
		Text{"A device may leave a message that is sent if its line breaks.", "设备可预置断线时发送的消息。"},
		Text{"Set the will's topic to one of the device's own, at QoS 0 or 1; else connect without a will.", "遗嘱主题须为设备自己的主题，QoS 0 或 1；否则不设遗嘱。"}, ""},
	{"connect.takeover", GroupConnect,
		Text{"A newer connection replaces the older", "新连接取代旧连接"},
		Text{"A device that lost its line comes back at once, and two copies of one credential do not work side by side.", "断线设备可立即重连；同一凭据的两个副本不能同时工作。"},
		Text{"Tell the operator of the platform: MQTT 3.1.1 (3.1.4-2) asks for it.", "请联系平台运维方：MQTT 3.1.1（3.1.4-2）要求如此。"}, ""},

	{"publish.telemetry", GroupPublish,
		Text{"Telemetry is acknowledged", "遥测得到确认"},
		Text{"A message to the own topic `telemetry` at QoS 1 is acknowledged, and the connection goes on.", "向自己的 `telemetry` 主题以 QoS 1 发送的消息得到确认，连接保持。"},
		Text{"Tell the operator of the platform: messages are not kept (a full log closes connections).", "请联系平台运维方：消息未被保存（日志已满时会断开连接）。"}, ""},
	{"publish.state", GroupPublish,
		Text{"State is acknowledged", "状态得到确认"},
		Text{"A message to the own topic `state` at QoS 1 is acknowledged, and the connection goes on.", "向自己的 `state` 主题以 QoS 1 发送的消息得到确认，连接保持。"},
		Text{"Tell the operator of the platform: messages are not kept (a full log closes connections).", "请联系平台运维方：消息未被保存（日志已满时会断开连接）。"}, ""},
	{"publish.signal", GroupPublish,
		Text{"Signals are acknowledged", "告警信号得到确认"},
		Text{"A message to the own topic `signal` at QoS 1 is acknowledged, and the connection goes on.", "向自己的 `signal` 主题以 QoS 1 发送的消息得到确认，连接保持。"},
		Text{"Run with --allow-signals, on a device for tests.", "在测试设备上加 --allow-signals 运行。"}, ""},
	{"publish.ack", GroupPublish,
		Text{"Acknowledgements of commands are acknowledged", "命令回执得到确认"},
		Text{"A message to the own topic `ack` at QoS 1 is acknowledged, and the connection goes on.", "向自己的 `ack` 主题以 QoS 1 发送的消息得到确认，连接保持。"},
		Text{"Run with --allow-signals, on a device for tests.", "在测试设备上加 --allow-signals 运行。"}, ""},
	{"publish.own-commands", GroupPublish,
		Text{"The device cannot send itself commands", "设备不能给自己下发命令"},
		Text{"What a device publishes to its own command topic is not delivered: only the platform commands.", "设备向自己的命令主题发送的内容不会被投递：只有平台能下发命令。"},
		Text{"Do not accept: the platform's topic rules are open. Tell its operator.", "不予验收：平台主题权限失效。请联系运维方。"}, ""},
	{"publish.wrong-topics", GroupPublish,
		Text{"Messages to others' topics are refused", "拒绝向他人主题发送"},
		Text{"The device cannot speak as another device, another fleet, a community or the platform.", "设备不能冒充其他设备、其他批次、社区或平台。"},
		Text{"Run with --fleet-status NAMESPACE/NAME where the cluster may be read: the fleet's counter of violations is the proof.", "在可读取集群处加 --fleet-status 命名空间/名称 运行：以批次的越权计数为证。"}, ""},
	{"publish.qos-2", GroupPublish,
		Text{"QoS 2 is refused", "拒绝 QoS 2"},
		Text{"The platform promises at-least-once and says so; a device that insists on QoS 2 learns it at once.", "平台承诺至少一次送达；要求 QoS 2 的设备会立即得知。"},
		Text{"Tell the operator of the platform; let devices publish at QoS 1.", "请联系平台运维方；设备应使用 QoS 1 发送。"}, ""},
	{"publish.oversized", GroupPublish,
		Text{"Messages beyond 1 MiB are refused", "拒绝超过 1 MiB 的消息"},
		Text{"A device that runs wild cannot fill the platform with single messages.", "失控设备不能以单条消息塞满平台。"},
		Text{"Tell the operator of the platform.", "请联系平台运维方。"}, ""},

	{"subscribe.own-commands", GroupSubscribe,
		Text{"The device may hear its commands", "设备可接收自己的命令"},
		Text{"A subscription to the own topic `cmd` at QoS 0 is granted.", "以 QoS 0 订阅自己的 `cmd` 主题被允许。"},
		Text{"Tell the operator of the platform.", "请联系平台运维方。"}, ""},
	{"subscribe.own-desired", GroupSubscribe,
		Text{"The device may hear its desired state", "设备可接收期望状态"},
		Text{"A subscription to the own topic `desired` at QoS 0 is granted.", "以 QoS 0 订阅自己的 `desired` 主题被允许。"},
		Text{"Tell the operator of the platform.", "请联系平台运维方。"}, ""},
	{"subscribe.qos-1", GroupSubscribe,
		Text{"Subscriptions at QoS 1 are refused", "拒绝 QoS 1 订阅"},
		Text{"Commands are never kept for later: one that is hours old must not reach a door.", "命令不留待日后投递：数小时前的命令不能送达门锁。"},
		Text{"Tell the operator of the platform; let devices subscribe at QoS 0.", "请联系平台运维方；设备应以 QoS 0 订阅。"}, ""},
	{"subscribe.wildcards", GroupSubscribe,
		Text{"Wildcards are refused", "拒绝通配符订阅"},
		Text{"The device cannot listen to everything, nor to more than its two topics.", "设备不能监听全部内容，也不能超出自己的两个主题。"},
		Text{openSubscriptions, openSubscriptionsZH}, ""},
	{"subscribe.other-device", GroupSubscribe,
		Text{"Another device's topics are refused", "拒绝订阅其他设备"},
		Text{"The device cannot hear another device of its fleet, nor what devices send up.", "设备不能收听同批次其他设备，也不能收听上行消息。"},
		Text{openSubscriptions, openSubscriptionsZH}, ""},
	{"subscribe.other-fleet", GroupSubscribe,
		Text{"Another fleet's topics are refused", "拒绝订阅其他批次"},
		Text{"One vendor's device cannot hear another vendor's.", "一家供应商的设备不能收听另一家的设备。"},
		Text{openSubscriptions, openSubscriptionsZH}, ""},
	{"subscribe.shared", GroupSubscribe,
		Text{"Shared subscriptions are refused", "拒绝共享订阅"},
		Text{"The prefix $share is no way around the rules.", "前缀 $share 不能绕过权限。"},
		Text{openSubscriptions, openSubscriptionsZH}, ""},
	{"subscribe.system", GroupSubscribe,
		Text{"The broker's inner topics are refused", "拒绝订阅系统主题"},
		Text{"The device cannot hear the broker's own records.", "设备不能收听服务端内部记录。"},
		Text{openSubscriptions, openSubscriptionsZH}, ""},
	{"subscribe.community", GroupSubscribe,
		Text{"Topics of communities and clouds are refused", "拒绝订阅社区与云平台主题"},
		Text{"The device cannot hear what the platform tells about a community.", "设备不能收听平台关于社区的消息。"},
		Text{openSubscriptions, openSubscriptionsZH}, ""},

	{"payload.format", GroupPayload,
		Text{"Form of the payloads", "报文格式"},
		Text{"Each sample is one JSON object.", "每个样例都是一个 JSON 对象。"},
		Text{"Send one JSON object, in UTF-8, with the fields of the profile.", "发送一个 UTF-8 的 JSON 对象，字段依物模型。"}, ""},
	{"payload.names", GroupPayload,
		Text{"Names of fields", "字段名称"},
		Text{"Every field is declared in the profile, with exactly this name.", "每个字段都在物模型中，名称完全一致。"},
		Text{"Rename the fields, or have them added to the profile; a field that is not declared is left out.", "修改字段名称，或申请加入物模型；未声明的字段会被忽略。"}, ""},
	{"payload.types", GroupPayload,
		Text{"Types of fields", "字段类型"},
		Text{"Every value has the declared type.", "每个值都符合声明的类型。"},
		Text{"Send numbers and booleans bare, not as text; times by RFC 3339 with a zone.", "数字与布尔值不要写成文本；时间按 RFC 3339 并带时区。"}, ""},
	{"payload.ranges", GroupPayload,
		Text{"Ranges of values", "取值范围"},
		Text{"Every value lies in the declared range, every word among the declared ones.", "每个值都在声明的范围内，枚举值都在声明之列。"},
		Text{"Check unit and scale; a value out of range is left out.", "检查单位与量级；超出范围的值会被忽略。"}, ""},
	{"payload.required", GroupPayload,
		Text{"Required fields", "必填字段"},
		Text{"Every sample has the fields that the profile requires.", "每个样例都含有物模型要求的字段。"},
		Text{"Send the required fields in every message.", "每条消息都应带必填字段。"}, ""},
	{"payload.time", GroupPayload,
		Text{"Time of the messages", "消息时间"},
		Text{"`ts`, where it is sent, is RFC 3339 with a zone and does not lie in the future.", "如带 `ts`，应为带时区的 RFC 3339 时间，且不在将来。"},
		Text{"Send ts such as 2026-06-01T08:00:00+08:00, from a clock that is set by NTP; or leave it out.", "按 2026-06-01T08:00:00+08:00 的形式发送 ts，时钟应以 NTP 校准；也可不发送。"}, ""},
	{"payload.size", GroupPayload,
		Text{"Size of the payloads", "报文大小"},
		Text{"Every sample is within the fleet's limit.", "每个样例都不超过批次的上限。"},
		Text{"Send less in a message, or have limits.payloadBytes of the fleet raised.", "减小单条消息，或申请提高批次的 limits.payloadBytes。"}, ""},
}

const (
	openSubscriptions   = "Do not accept: the device can listen to what is not its own. Tell the operator of the platform."
	openSubscriptionsZH = "不予验收：设备可收听不属于自己的内容。请联系平台运维方。"
)

// IDs lists the checks of a method ("X509" or "Password") in the order of the report.
func IDs(method string) []string {
	var out []string
	for _, e := range catalogue {
		if e.only == "" || e.only == method {
			out = append(out, e.id)
		}
	}
	return out
}
