/** One shape for the person behind an invocation, whichever version of the interface told it. */

export function normalizeUserData(raw) {
  const fields = raw.additionalFields ?? [];
  return {
    tenantId: raw.tenantId,
    clientName: raw.clientName,
    userId: raw.userId,
    userEmail: raw.userEmail,
    userName: raw.userName,
    userType: raw.userType,
    clientId: raw.clientId ?? undefined,
    additionalFields: Array.isArray(fields) ? Object.fromEntries(fields) : { ...fields },
  };
}
