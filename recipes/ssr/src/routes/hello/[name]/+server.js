export function GET({ params }) {
  return Response.json({ hello: params.name });
}
