export function load({ request }) {
  return { country: request.headers.get('cf-ipcountry') ?? 'XX' };
}

export const actions = {
  default: async ({ request }) => ({ name: String((await request.formData()).get('name')) }),
};
