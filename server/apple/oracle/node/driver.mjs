// Runs what Apple's own library and two others do with keys and tokens: a list of tasks as JSON on standard input, a list of answers
// on standard output. The argument is the folder in which the packages are installed.
import { createVerify } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.argv[2] + "/"));
const apple = require("@apple/app-store-server-library");
const jsonwebtoken = require("jsonwebtoken");
const jose = await import(pathToFileURL(require.resolve("jose")));

// A client of Apple's with a token of ours.
class Client extends apple.AppStoreServerAPIClient {
  constructor(t) {
    super(t.key, t.kid, t.issuer, t.bundle, apple.Environment.LOCAL_TESTING);
    this.urlBase = t.url;
    this.token = t.token;
  }
  createBearerToken() {
    return this.token ?? super.createBearerToken();
  }
}

const tasks = {
  bearer: (t) => new Client(t).createBearerToken(),
  promotionalOffer: (t) =>
    new apple.PromotionalOfferV2SignatureCreator(t.key, t.kid, t.issuer, t.bundle).createSignature(t.product, t.offer, t.transaction),
  introductoryOffer: (t) =>
    new apple.IntroductoryOfferEligibilitySignatureCreator(t.key, t.kid, t.issuer, t.bundle).createSignature(t.product, t.allow, t.transaction),
  advancedCommerce: (t) =>
    new apple.AdvancedCommerceInAppSignatureCreator(t.key, t.kid, t.issuer, t.bundle).createSignature(JSON.parse(t.request)),
  offerSignature: (t) =>
    new apple.PromotionalOfferSignatureCreator(t.key, t.kid, t.bundle).createSignature(t.product, t.offer, t.account, t.nonce, t.timestamp),

  // An answer of the server to Apple's client; its status, when it is a refusal.
  transaction: async (t) => {
    try {
      await new Client(t).getTransactionInfo("1000011859217");
      return "taken";
    } catch (e) {
      if (e instanceof apple.APIException) return String(e.httpStatusCode);
      throw e;
    }
  },

  // The header and the claims of a token that verifies, at a time in seconds.
  jose: async (t) => {
    const key = await jose.importSPKI(t.public, "ES256");
    const { payload, protectedHeader } = await jose.jwtVerify(t.token, key, {
      algorithms: ["ES256"], audience: t.audience, currentDate: new Date(t.now * 1000),
    });
    return JSON.stringify({ header: protectedHeader, claims: payload });
  },
  jsonwebtoken: (t) => {
    const { payload, header } = jsonwebtoken.verify(t.token, t.public, {
      algorithms: ["ES256"], audience: t.audience, clockTimestamp: t.now, complete: true,
    });
    return JSON.stringify({ header, claims: payload });
  },

  // A signature in ASN.1 over text, by Node itself.
  der: (t) => {
    const v = createVerify("SHA256");
    v.update(t.text);
    if (!v.verify(t.public, t.signature, "base64")) throw new Error("it does not verify");
    return "taken";
  },
  // And one of r and s.
  raw: (t) => {
    const v = createVerify("SHA256");
    v.update(t.text);
    if (!v.verify({ key: t.public, dsaEncoding: "ieee-p1363" }, t.signature, "base64url")) throw new Error("it does not verify");
    return "taken";
  },
};

let input = "";
for await (const chunk of process.stdin) input += chunk;
const answers = [];
for (const t of JSON.parse(input)) {
  try {
    answers.push({ text: await tasks[t.do](t) });
  } catch (e) {
    answers.push({ error: String(e?.message ?? e) });
  }
}
process.stdout.write(JSON.stringify(answers));
