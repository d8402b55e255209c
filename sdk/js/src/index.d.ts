/** The guest SDK's types. Every host call returns a promise; a refusal rejects with the enum case in `payload`. */

export interface HttpHeader {
  name: string;
  value: string;
}

export interface ContextData {
  requestId?: string | null;
  tenantId: string;
  extensionId: string;
  installId?: string | null;
  versionId?: string | null;
}

export interface HttpRequest {
  method: string;
  url: string;
  headers: HttpHeader[];
  body?: Uint8Array | null;
}

export interface HttpResponse {
  status: number;
  headers: HttpHeader[];
  body?: Uint8Array | null;
}

export interface ExecuteRequest {
  context: ContextData;
  http: HttpRequest;
}

export interface ExecuteResponse {
  status: number;
  headers?: HttpHeader[];
  body?: Uint8Array | string | null;
}

export interface UserData {
  tenantId: string;
  clientName: string;
  userId: string;
  userEmail: string;
  userName: string;
  userType: string;
  clientId?: string;
  additionalFields: Record<string, string>;
}

export interface StorageEntry {
  namespace: string;
  key: string;
  value: Uint8Array;
  revision?: number | null;
}

export interface ScheduleInfo {
  id: string;
  endpointPath: string;
  endpointMethod: string;
  name?: string | null;
  cron: string;
  timezone: string;
  enabled: boolean;
  payload?: string | null;
  lastRunAt?: string | null;
  lastRunStatus?: string | null;
  lastError?: string | null;
  createdAt?: string | null;
}

export interface EndpointInfo {
  id: string;
  method: string;
  path: string;
  handler: string;
  schedulable: boolean;
}

export interface CreateScheduleInput {
  endpoint: string;
  cron: string;
  timezone?: string;
  enabled?: boolean;
  name?: string;
  payload?: string;
}

export type UpdateScheduleInput = Partial<CreateScheduleInput>;

export interface ScheduleResult {
  success: boolean;
  scheduleId?: string | null;
  error?: string | null;
  fieldErrors?: string | null;
}

export interface ManualInvoiceItemInput {
  serviceId: string;
  quantity: number;
  description: string;
  /** In minor units (cents). */
  rate: number;
  isDiscount?: boolean;
  discountType?: "percentage" | "fixed";
  appliesToItemId?: string;
  appliesToServiceId?: string;
}

export interface CreateManualInvoiceInput {
  clientId: string;
  items: ManualInvoiceItemInput[];
  invoiceDate?: string;
  dueDate?: string;
  poNumber?: string;
}

export interface CreateManualInvoiceResult {
  success: boolean;
  invoiceId?: string | null;
  invoiceNumber?: string | null;
  status?: string | null;
  subtotal?: number | null;
  tax?: number | null;
  total?: number | null;
  error?: string | null;
  fieldErrors?: string | null;
}

export interface ClientSummary {
  clientId: string;
  clientName: string;
  clientType?: string | null;
  isInactive: boolean;
  defaultCurrencyCode?: string | null;
  accountManagerId?: string | null;
  accountManagerName?: string | null;
  billingEmail?: string | null;
}

export interface ClientsListInput {
  search?: string;
  includeInactive?: boolean;
  page?: number;
  pageSize?: number;
}

export interface ServiceSummary {
  serviceId: string;
  serviceName: string;
  itemKind: "service" | "product";
  billingMethod: "fixed" | "hourly" | "usage";
  serviceTypeId?: string | null;
  serviceTypeName?: string | null;
  defaultRate: number;
  unitOfMeasure: string;
  isActive: boolean;
  sku?: string | null;
}

export interface ServicesListInput {
  search?: string;
  itemKind?: "service" | "product";
  isActive?: boolean;
  billingMethod?: "fixed" | "hourly" | "usage";
  page?: number;
  pageSize?: number;
}

export interface Listing<Item> {
  items: Item[];
  totalCount: number;
  page: number;
  pageSize: number;
}

export interface ContextDataV2 {
  requestId: string;
  invocationId: string;
  tenantId: string;
  extensionId: string;
  installId: string;
  versionId: string;
  extensionName: string;
  version: string;
  contentHash: string;
  trigger: "http" | "event" | "schedule";
  attempt: number;
  idempotencyKey?: string | null;
  traceparent?: string | null;
  capabilities: string[];
  egressHosts: string[];
  limits: { timeoutMs: number; memoryMb: number; maxBodyBytes: number };
  config: [string, string][];
  event?: {
    id: string;
    topic: string;
    source: string;
    subject?: string | null;
    time: string;
    deliveryId: string;
    depth: number;
  } | null;
  schedule?: { id: string; name?: string | null; scheduledFor: string } | null;
}

export interface StorageV2Entry {
  key: string;
  value: string;
  encoding: "text" | "base64";
  revision: number;
  metadata?: string | null;
  expiresAt?: string | null;
  updatedAt: string;
}

export interface StorageV2Item {
  key: string;
  value: string;
  encoding?: "text" | "base64";
  metadata?: string;
  ttlSeconds?: number;
  createOnly?: boolean;
  ifRevision?: number;
}

export interface StorageV2Query {
  prefix?: string;
  cursor?: string;
  limit?: number;
  includeValues?: boolean;
}

export interface PutResult {
  key: string;
  revision: number;
  expiresAt?: string | null;
}

export interface OutgoingEvent {
  topic: string;
  payload?: unknown;
  id?: string;
  subject?: string;
  orderingKey?: string;
}

export type Labels = Record<string, string>;
export type Bytes = Uint8Array | string;

export interface UiProxy {
  callRoute(route: string, payload?: Bytes): Promise<Uint8Array>;
  call(route: string, payload?: Bytes): Promise<Uint8Array>;
}

export interface HostBindings {
  context: { get(): Promise<ContextData> };
  secrets: { get(key: string): Promise<string>; list(): Promise<string[]> };
  http: {
    fetch(request: {
      url: string;
      method?: string;
      headers?: HttpHeader[] | Record<string, string>;
      body?: Bytes;
    }): Promise<HttpResponse>;
  };
  storage: {
    get(namespace: string, key: string): Promise<StorageEntry>;
    put(entry: Omit<StorageEntry, "value"> & { value: Bytes }): Promise<StorageEntry>;
    delete(namespace: string, key: string): Promise<void>;
    list(namespace: string, cursor?: string): Promise<StorageEntry[]>;
  };
  logging: Record<"info" | "warn" | "error", (message: string) => Promise<void>>;
  uiProxy: UiProxy;
  user: { getUser(): Promise<UserData> };
  scheduler: {
    list(): Promise<ScheduleInfo[]>;
    get(id: string): Promise<ScheduleInfo | undefined | null>;
    create(input: CreateScheduleInput): Promise<ScheduleResult>;
    update(id: string, input: UpdateScheduleInput): Promise<ScheduleResult>;
    delete(id: string): Promise<ScheduleResult>;
    getEndpoints(): Promise<EndpointInfo[]>;
  };
  invoicing: { createManualInvoice(input: CreateManualInvoiceInput): Promise<CreateManualInvoiceResult> };
  clients: {
    list(input?: ClientsListInput): Promise<Listing<ClientSummary>>;
    get(clientId: string): Promise<ClientSummary | undefined | null>;
  };
  services: {
    list(input?: ServicesListInput): Promise<Listing<ServiceSummary>>;
    get(serviceId: string): Promise<ServiceSummary | undefined | null>;
  };
  contextV2: {
    get(): Promise<ContextDataV2>;
    getConfig(key: string): Promise<string | undefined | null>;
    remainingMs(): Promise<number>;
    now(): Promise<number>;
    randomHex(bytes: number): Promise<string>;
  };
  storageV2: {
    get(namespace: string, key: string): Promise<StorageV2Entry | undefined>;
    getMany(namespace: string, keys: string[]): Promise<StorageV2Entry[]>;
    put(namespace: string, item: StorageV2Item): Promise<PutResult>;
    putMany(namespace: string, items: StorageV2Item[]): Promise<PutResult[]>;
    delete(namespace: string, key: string, ifRevision?: number): Promise<boolean>;
    deleteMany(namespace: string, keys: string[]): Promise<number>;
    list(
      namespace: string,
      query?: StorageV2Query,
    ): Promise<{ items: StorageV2Entry[]; nextCursor?: string | null }>;
    usage(): Promise<{ bytesUsed: number; bytesLimit: number; keys: number; namespaces: number }>;
  };
  metrics: {
    addCounter(name: string, value?: number, labels?: Labels): Promise<void>;
    setGauge(name: string, value: number, labels?: Labels): Promise<void>;
    recordHistogram(name: string, value: number, labels?: Labels): Promise<void>;
  };
  events: { emit(event: OutgoingEvent): Promise<string> };
}

export type Handler = (
  request: ExecuteRequest,
  host: HostBindings,
) => ExecuteResponse | Promise<ExecuteResponse>;

export interface ResponseOptions {
  status?: number;
  headers?: HttpHeader[] | Record<string, string>;
}

export interface RouteMatch {
  params: Record<string, string>;
  query: URLSearchParams;
}

export type RouteHandler = (
  request: ExecuteRequest,
  host: HostBindings,
  match: RouteMatch,
) => ExecuteResponse | Promise<ExecuteResponse>;

export interface Router extends Handler {
  get(path: string, answer: RouteHandler): Router;
  post(path: string, answer: RouteHandler): Router;
  put(path: string, answer: RouteHandler): Router;
  patch(path: string, answer: RouteHandler): Router;
  delete(path: string, answer: RouteHandler): Router;
}

export type HostOverrides = { [Part in keyof HostBindings]?: Partial<HostBindings[Part]> };

/** JSON, status 200 and `content-type: application/json` unless told otherwise. */
export function jsonResponse(body: unknown, options?: ResponseOptions): ExecuteResponse;
export function textResponse(text: string, options?: ResponseOptions): ExecuteResponse;
export function emptyResponse(status?: number): ExecuteResponse;
/** The body as JSON; undefined where there is none. Throws SyntaxError where it is not JSON. */
export function readJson(request: ExecuteRequest): any;
export function createRouter(): Router;
export function createMockHostBindings(overrides?: HostOverrides): HostBindings;
export function normalizeUserData(raw: object): UserData;
export function callProxyJson(uiProxy: UiProxy, route: string, payload?: unknown): Promise<any>;
